"""Quality of experience after Andes (arXiv 2404.16283): how far delivery lags behind the ideal.

Ideal: the first token at the target TTFT, then one every 1 / speed seconds. QoE = 1 - S_delay / S_whole.
Two ways to keep early tokens from paying for late ones [choice]:

* `clipped`: S_delay = sum max(0, t_i - ideal_i), S_whole = sum max(0, t_n - ideal_i).
* `readable`: with c_i = max(t_i, ideal_i, c_{i-1} + 1 / speed), when the user can take token i in, S_delay
  = sum (c_i - ideal_i) and S_whole = sum (c_n - ideal_i).

S_whole = 0 gives 1. A request without any token has QoE 0; one cut short is judged by the tokens it got.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from llmsim.errors import InputError, nearest
from llmsim.metrics.tokens import Chunk, token_chunks
from llmsim.record import Floats, Timelines

FORMS = ("clipped", "readable")


def qoe(
    timelines: Timelines,
    *,
    ttft_s: float,
    tokens_per_s: float,
    form: Literal["clipped", "readable"] = "clipped",
) -> Floats:
    """QoE of each request, (N,), in [0, 1]. Expands tokens in chunks."""
    if form not in FORMS:
        raise InputError(f"qoe form: unknown '{form}'{nearest(form, FORMS)}")
    out = np.zeros(len(timelines))
    for chunk in token_chunks(timelines):
        start_s = timelines.arrival_s[chunk.requests] + ttft_s
        # Lateness of each token against its ideal time, seconds.
        late_s = chunk.times_s - np.repeat(start_s, chunk.n_tokens) - (chunk.index() - 1) / tokens_per_s
        if form == "readable":
            late_s = _running_max(Chunk(chunk.requests, late_s, chunk.begin, chunk.n_tokens))
        out[chunk.requests] = _ratio(late_s, chunk, tokens_per_s)
    return out


def _ratio(late_s: Floats, chunk: Chunk, tokens_per_s: float) -> Floats:
    delay_s = np.add.reduceat(np.maximum(late_s, 0.0), chunk.begin)
    # Token n stands n - i ideal gaps after token i, so t_n - ideal_i = late_n + (n - i) / speed.
    last_s = np.repeat(late_s[chunk.begin + chunk.n_tokens - 1], chunk.n_tokens)
    ahead = np.repeat(chunk.n_tokens, chunk.n_tokens) - chunk.index()
    whole_s = np.add.reduceat(np.maximum(last_s + ahead / tokens_per_s, 0.0), chunk.begin)
    return 1.0 - np.divide(delay_s, whole_s, out=np.zeros_like(whole_s), where=whole_s > 0)


def _running_max(chunk: Chunk) -> Floats:
    """Running max(0, lateness) of each request: how late a reader is that takes tokens in one by one."""
    worst, out = np.zeros(len(chunk.requests)), np.empty_like(chunk.times_s)
    order = np.argsort(-chunk.n_tokens, kind="stable")
    _, columns = chunk.columns()
    for i, late_s in enumerate(columns):
        m = len(late_s)
        np.maximum(worst[:m], late_s, out=worst[:m])
        out[chunk.begin[order[:m]] + i] = worst[:m]
    return out
