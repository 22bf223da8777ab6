"""One row per request, with the metrics that tell apart what existing SLOs cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llmsim.metrics import ranges, request_latency
from llmsim.metrics.fluidity import fluidity_index
from llmsim.metrics.qoe import qoe
from llmsim.metrics.smooth_goodput import User, delivered_lateness_s
from llmsim.metrics.summary import number
from llmsim.record import Timelines

Row = dict[str, float | int | None]


def request_table(
    timelines: Timelines,
    user: User,
    *,
    qoe_ttft_s: float | None = None,
    fluidity_prefill_s: float | None = None,
) -> list[Row]:
    """TTFT, largest gap, TPOT, last token, l under three anchors, QoE and fluidity per request; None where undefined.

    l is the lateness of delivered tokens (nothing charged for a drop): from the arrival, and from the first
    token with V (i - 1) and with V i, each with `user.offset_s`. QoE and fluidity expect the first token at
    V, and the rest every V, unless another time is given for the first.
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
    table = np.column_stack(list(columns.values()))
    return [
        {"request": i, "n_tokens": int(n), **{name: number(x) for name, x in zip(columns, row, strict=True)}}
        for i, (n, row) in enumerate(zip(rows.n_tokens, table.tolist(), strict=True))
    ]
