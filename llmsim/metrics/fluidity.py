"""Fluidity index and fluid token rate of Etalon (arXiv 2407.07000): deadlines with slack."""

from __future__ import annotations

import numpy as np

from llmsim.metrics.slo import GRACE_S
from llmsim.metrics.tokens import Chunk, token_chunks
from llmsim.record import Floats, Timelines


def fluidity_index(timelines: Timelines, *, prefill_s: float | Floats, decode_s: float) -> Floats:
    """Share of token deadlines met, (N,); 0 for a request without tokens.

    The first token may take `prefill_s` (one value, or one per request), each next one `decode_s`; time
    saved is slack for later tokens. A token later than that misses floor(excess / decode_s) + 1 deadlines,
    and the slack is gone.
    """
    prefill = np.broadcast_to(np.asarray(prefill_s, dtype=np.float64), len(timelines))
    out = np.zeros(len(timelines))
    for chunk in token_chunks(timelines):
        order, index = _march(chunk, timelines.arrival_s, prefill, decode_s)
        out[order] = index
    return out


def _march(chunk: Chunk, arrival_s: Floats, prefill_s: Floats, decode_s: float) -> tuple[np.ndarray, Floats]:
    requests, columns = chunk.columns()
    previous = arrival_s[requests].copy()
    slack, missed, total = (np.zeros(len(requests)) for _ in range(3))
    for i, times_s in enumerate(columns):
        m = len(times_s)
        allowed_s = prefill_s[requests] if i == 0 else decode_s
        spare_s = slack[:m] + allowed_s - (times_s - previous[:m])
        previous[:m] = times_s
        late = spare_s < -GRACE_S
        misses = np.where(late, np.floor(-spare_s / decode_s) + 1, 0.0)
        missed[:m] += misses
        total[:m] += np.where(late, misses, 1.0)
        slack[:m] = np.where(late, 0.0, spare_s)
    return requests, 1.0 - missed / total


def fluid_token_rate_per_s(
    timelines: Timelines, *, prefill_s: float | Floats, index: float = 0.9, share: float = 0.99
) -> float:
    """1 / the smallest decode deadline with which `share` of all requests reach a fluidity index of `index`.

    Found by bisection to 0.1 %, between 10 us and 1000 s; 0 where not even 1000 s is enough (a prefill
    deadline missed by too many, or requests without tokens), NaN without requests.
    """
    if len(timelines) == 0:
        return float("nan")

    def enough(decode_s: float) -> bool:
        return bool(np.mean(fluidity_index(timelines, prefill_s=prefill_s, decode_s=decode_s) >= index) >= share)

    lo, hi = 1e-5, 1e3
    if not enough(hi):
        return 0.0
    while hi / lo > 1.001:
        middle = (lo * hi) ** 0.5
        lo, hi = (lo, middle) if enough(middle) else (middle, hi)
    return 1.0 / hi
