"""The SLO of a request as SLOs-Serve has it (arXiv 2504.08784): each stage must be in time, decoding token by token."""

from __future__ import annotations

import numpy as np

from llmsim.errors import InputError
from llmsim.metrics import request_latency
from llmsim.metrics.ranges import Bools
from llmsim.metrics.slo import GRACE_S
from llmsim.metrics.tokens import token_chunks
from llmsim.record import Floats, Timelines
from llmsim.request import Outcome
from llmsim.slo import Slo

TOKENS = 10  #: over which the time per token is a mean


def meets_stages(timelines: Timelines, slo: Slo, *, tokens: int = TOKENS) -> Bools:
    """Which requests finished with the first token in time, and every `tokens` tokens in a row after it, (N,).

    The bounds are `slo.ttft_s`, if it is given, and that on the time per token; InputError without that.
    """
    bound_s = slo.per_token_s
    if bound_s is None:
        raise InputError("slo: stages need a bound on the time per token: tpot_s, tbt_s or token_deadline_s")
    out: Bools = (timelines.outcome == Outcome.FINISHED) & (slowest_tokens_s(timelines, tokens) <= bound_s + GRACE_S)
    if slo.ttft_s is not None:
        out &= request_latency.ttft_s(timelines) <= slo.ttft_s + GRACE_S
    return out


def slowest_tokens_s(timelines: Timelines, tokens: int = TOKENS) -> Floats:
    """Largest mean time per token of each request over `tokens` tokens in a row, (N,), seconds; 0 with one token.

    Of a request with fewer: the mean over all it has.
    """
    out = np.zeros(len(timelines))
    for chunk in token_chunks(timelines):
        last = chunk.begin + chunk.n_tokens - 1
        gaps = np.minimum(chunk.n_tokens - 1, tokens)  # in a window
        shorter = np.flatnonzero((gaps > 0) & (gaps < tokens))
        times_s = chunk.times_s
        out[chunk.requests[shorter]] = (times_s[last] - times_s[chunk.begin])[shorter] / gaps[shorter]
        if len(times_s) <= tokens:
            continue
        took_s = np.full(len(times_s), -np.inf)
        took_s[:-tokens] = times_s[tokens:] - times_s[:-tokens]
        took_s[chunk.index() + tokens > np.repeat(chunk.n_tokens, chunk.n_tokens)] = -np.inf
        slowest_s = np.maximum.reduceat(took_s, chunk.begin) / tokens
        whole = gaps == tokens
        out[chunk.requests[whole]] = slowest_s[whole]
    return out
