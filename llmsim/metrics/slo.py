"""SLOs as deadlines for tokens (arXiv 2410.14257, section 3), and the share of requests that meet them.

A request meets its SLO if it finished and every bounded token came by its deadline (inclusive). The
deadlines d_i are seconds after the arrival. Attainment is joint over all bounds, and its denominator is all
arrivals: a request that was rejected, abandoned, cancelled or left unfinished misses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from llmsim.metrics import ranges, request_latency
from llmsim.metrics.ranges import Bools
from llmsim.record import Floats, Timelines
from llmsim.request import Outcome
from llmsim.slo import Slo

__all__ = ["GRACE_S", "Slo", "attainment", "joint", "meets", "meets_each"]

#: Bounds are inclusive. A nanosecond of grace keeps the rounding of time differences from deciding.
GRACE_S = 1e-9
#: bound -> the number of a request that it bounds; a token's deadline is none, each token has its own
BOUNDED_S: Mapping[str, Callable[[Timelines], Floats]] = {
    "ttft_s": request_latency.ttft_s,
    "tbt_s": ranges.largest_gap_s,
    "tpot_s": request_latency.tpot_s,
    "e2e_s": request_latency.e2e_s,
}


def meets_each(timelines: Timelines, slo: Slo) -> dict[str, Bools]:
    """For each bound given, which requests keep it, (N,). A request that did not finish keeps none.

    A request of one token has no gap and no TPOT: both count as 0.
    """
    finished = _finished(timelines)
    out = {}
    for name, bound_s in slo.given().items():
        if name == "token_deadline_s":
            out[name] = finished & (_past_deadline_s(timelines, slo, bound_s) <= GRACE_S)
        else:
            out[name] = finished & (np.nan_to_num(BOUNDED_S[name](timelines), nan=0.0) <= bound_s + GRACE_S)
    return out


def values_s(timelines: Timelines, names: Iterable[str]) -> dict[str, Floats]:
    """What the bounds of these names bound, (N,), seconds: inf for a request that did not finish and keeps none."""
    finished = _finished(timelines)
    found = {name: np.nan_to_num(BOUNDED_S[name](timelines), nan=0.0) for name in names}
    return {name: np.where(finished, value_s, np.inf) for name, value_s in found.items()}


def _finished(timelines: Timelines) -> Bools:
    finished: Bools = (timelines.outcome == Outcome.FINISHED) & (ranges.layout(timelines).n_tokens > 0)
    return finished


def _past_deadline_s(timelines: Timelines, slo: Slo, token_s: float) -> Floats:
    """How much later than its deadline the worst token of each request came, (N,), seconds; below 0: earlier."""
    first_s = token_s if slo.ttft_s is None else slo.ttft_s
    return ranges.max_over_line_s(timelines, token_s) - timelines.arrival_s - (first_s - token_s)


def joint(kept: dict[str, Bools]) -> Bools:
    """All bounds at once, (N,)."""
    out: Bools = np.all(list(kept.values()), axis=0)
    return out


def meets(timelines: Timelines, slo: Slo) -> Bools:
    """Which requests meet the SLO, (N,): finished, and within all bounds at once."""
    return joint(meets_each(timelines, slo))


def attainment(timelines: Timelines, slo: Slo) -> float:
    """Share of all arrivals that meet the SLO (eq. 6); NaN without arrivals."""
    return float(np.mean(meets(timelines, slo))) if len(timelines) else float("nan")


def tbt_deadlines_s(t_s: Floats, ttft_s: float, tbt_s: float) -> Floats:
    """Eq. 2: d_1 = TTFT*, d_i = t_{i-1} + TBT*, chained to the actual previous token; t_s and result (n,)."""
    return np.concatenate([[ttft_s], t_s[:-1] + tbt_s])[: len(t_s)]


def tpot_deadlines_s(t_s: Floats, ttft_s: float, tpot_s: float) -> Floats:
    """Eq. 3: d_1 = TTFT*, d_n = t_1 + (n - 1) TPOT*, nothing between, (n,)."""
    out = np.full(len(t_s), np.inf)
    if len(t_s):
        out[-1] = t_s[0] + (len(t_s) - 1) * tpot_s
        out[0] = min(out[0], ttft_s) if len(t_s) == 1 else ttft_s
    return out


def e2e_deadlines_s(t_s: Floats, e2e_s: float) -> Floats:
    """Eq. 4: d_n = E2E*, nothing before, (n,)."""
    out = np.full(len(t_s), np.inf)
    out[-1:] = e2e_s
    return out
