"""One row per request, with the metrics that tell apart what existing SLOs cannot."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from llmsim.metrics import ranges, request_latency
from llmsim.metrics.fluidity import fluidity_index
from llmsim.metrics.kpi import Part
from llmsim.metrics.qoe import qoe
from llmsim.metrics.slo import meets
from llmsim.metrics.smooth_goodput import User, delivered_lateness_s
from llmsim.metrics.summary import number
from llmsim.record import Timelines
from llmsim.slo import Slo


@dataclass(frozen=True, slots=True, eq=False)
class RequestRow(Part):
    """A request; None where a metric is undefined. l is the lateness of delivered tokens, nothing charged for a drop.

    It counts from the arrival, or from the first token with V (i - 1) or with V i, each with `User.offset_s`.
    """

    request: int
    n_tokens: int
    ttft_s: float | None
    max_gap_s: float | None
    tpot_s: float | None
    last_token_s: float | None  #: from the arrival
    l_arrival_s: float | None
    l_first_token_s: float | None
    l_first_token_plus_v_s: float | None
    qoe: float | None
    fluidity: float | None
    meets_slo: bool | None = None  #: None: there is no SLO


def request_table(
    timelines: Timelines,
    user: User,
    slo: Slo | None = None,
    *,
    qoe_ttft_s: float | None = None,
    fluidity_prefill_s: float | None = None,
) -> list[RequestRow]:
    """One row for each request.

    QoE and fluidity expect the first token at V, and the rest every V, unless another time is given for the first.
    """
    v = user.seconds_per_token
    rows = ranges.layout(timelines)
    first_token = replace(user, anchor="first_token")
    columns = {
        "ttft_s": request_latency.ttft_s(timelines),
        "max_gap_s": ranges.largest_gap_s(timelines),
        "tpot_s": request_latency.tpot_s(timelines),
        "last_token_s": ranges.last_token_s(timelines) - timelines.arrival_s,
        "l_arrival_s": delivered_lateness_s(timelines, replace(user, anchor="arrival")),
        "l_first_token_s": delivered_lateness_s(timelines, replace(first_token, index_base=0)),
        "l_first_token_plus_v_s": delivered_lateness_s(timelines, replace(first_token, index_base=1)),
        "qoe": qoe(timelines, ttft_s=v if qoe_ttft_s is None else qoe_ttft_s, tokens_per_s=user.tokens_per_s),
        "fluidity": fluidity_index(
            timelines, prefill_s=v if fluidity_prefill_s is None else fluidity_prefill_s, decode_s=v
        ),
    }
    table = np.column_stack(list(columns.values())).tolist()
    kept = itertools.repeat(None) if slo is None else meets(timelines, slo).tolist()
    return [
        RequestRow(i, int(n), **{name: number(x) for name, x in zip(columns, row, strict=True)}, meets_slo=met)
        for i, (n, row, met) in enumerate(zip(rows.n_tokens, table, kept, strict=False))
    ]
