"""Random compact timelines (several instances, segments, heads), on a grid of 1/8 s: sums are exact."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from llmsim.record import Timelines
from llmsim.request import Outcome


def random_timelines(seed: int, n_requests: int, n_steps: int, *, outcomes: bool = True) -> Timelines:
    rng = np.random.default_rng(seed)
    instances = 2
    times = np.concatenate([np.cumsum(rng.integers(0, 9, n_steps)) / 8 for _ in range(instances)])
    arrival, outcome, end, rows = [], [], [], []
    for request in range(n_requests):
        at = float(rng.integers(0, 2 * n_steps)) / 8
        arrival.append(at)
        for _ in range(int(rng.integers(0, 4))):
            base = int(rng.integers(instances)) * n_steps
            start = base + int(np.searchsorted(times[base : base + n_steps], at, side="left"))
            start += int(rng.integers(0, 4))
            count = int(min(rng.integers(0, 12), max(base + n_steps - start, 0)))
            start = min(start, instances * n_steps - 1)
            first = times[start] if count else at + 1.0
            head = at + (first - at) * rng.integers(0, 3) / 2 if rng.random() < 0.6 else np.nan
            rows.append((request, head, start, count))
            at = float(times[start + count - 1]) if count else (at if np.isnan(head) else float(head))
        end.append(at + float(rng.integers(0, 9)) / 8)
        outcome.append(int(rng.integers(5)) if outcomes else int(Outcome.FINISHED))
    request, head, start, count = (np.array(c) for c in (zip(*rows, strict=True) if rows else [[]] * 4))
    n = n_requests
    timelines = Timelines(
        arrival_s=np.array(arrival),
        end_s=np.array(end),
        outcome=np.array(outcome, np.int8),
        prompt_tokens=rng.integers(1, 100, n),
        output_tokens=np.zeros(n, np.int64),
        request=request.astype(np.int64),
        head_s=head.astype(np.float64),
        start=start.astype(np.int64),
        count=count.astype(np.int64),
        times_s=times,
    )
    asked = np.array([len(timelines.token_times_s(i)) for i in range(n)], np.int64)
    cut_short = timelines.outcome != Outcome.FINISHED
    timelines.output_tokens[:] = asked + np.where(cut_short, rng.integers(1, 9, n), 0)
    return timelines


def compact_timelines(*, outcomes: bool = True) -> st.SearchStrategy[Timelines]:
    return st.builds(
        lambda seed, n, m: random_timelines(seed, n, m, outcomes=outcomes),
        st.integers(0, 2**32 - 1),
        st.integers(1, 8),
        st.integers(1, 40),
    )


def token_lists(timelines: Timelines) -> list[np.ndarray]:
    return [timelines.token_times_s(i) for i in range(len(timelines))]
