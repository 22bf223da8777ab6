"""Whether a run may speak of a steady state, and what its score keeps to itself if it may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmsim.cluster.gateway import handed_out
from llmsim.metrics import ranges
from llmsim.metrics.paid_time import SERVING, instance_seconds
from llmsim.metrics.window import Window
from llmsim.record import Floats, Record
from llmsim.statistics import OVERLOADED, STEADY, TOO_SHORT, UNSERVED, Verdict, judge

#: tables of the score with percentiles of the far tail, which need a steady state
WITH_TAILS = (
    *("ttft_s", "tpot_s", "tbt_s", "e2e_s", "queueing_s", "client_queueing_s", "idle_latency_s"),
    *("engine_ttft_s", "gateway_queueing_s"),
)
TAILS = ("p99",)
#: what a verdict answers, in words
ANSWERS = {STEADY: "steady", OVERLOADED: "overloaded", TOO_SHORT: "too short to say", UNSERVED: UNSERVED}
P99S_WITHHELD = "P99s withheld, --force shows them"
P99S_MARKED = "P99s marked * are not to be relied on"


def verdict(record: Record, window: Window, arrival_s: Floats | None = None, *, output_token_s: float = 0.0) -> Verdict:
    """Judge a run from its first to its last arrival, or within the bounds that its window gives.

    `arrival_s`: (requests,) where waits count from, if not from the record's arrivals; in a closed loop, the sending.
    A request waits until it is scheduled, and again while its first token waits for the gateway's sender.
    """
    requests = record.requests
    arrival_s = requests["arrival_s"] if arrival_s is None else arrival_s
    waits_until_s, end_s = requests["first_scheduled_s"], requests["end_s"]
    if output_token_s > 0:
        sent = handed_out(record, output_token_s)
        held_s = ranges.first_token_s(sent) - requests["first_token_s"]
        waits_until_s, end_s = waits_until_s + np.nan_to_num(held_s), sent.end_s
    first_s, last_s = float(arrival_s.min()), float(arrival_s.max())
    start_s = first_s if window.start_s is None else max(first_s, window.start_s)
    stop_s = last_s if window.end_s is None else min(last_s, window.end_s)
    return judge(
        arrival_s,
        waits_until_s,
        end_s,
        span_s=(start_s, stop_s),
        utilisation=utilisation(record, start_s, stop_s),
    )


def utilisation(record: Record, start_s: float, stop_s: float, instances: range | None = None) -> float | None:
    """Share of the time from `start_s` to `stop_s` in which an instance was in a step, over all instances, or some.

    Of those that come and go, the time in which they could serve counts.
    """
    if stop_s <= start_s:
        return None
    steps = record.steps
    busy_s = np.minimum(steps["end_s"], stop_s) - np.maximum(steps["start_s"], start_s)
    numbers = instances or range(len(record.step_ends_s))
    counted = (steps["instance"] >= numbers.start) & (steps["instance"] < numbers.stop)
    there_s = (stop_s - start_s) * len(numbers)
    if len(record.instance_states["start_s"]):
        there_s = instance_seconds(record.instance_states, SERVING, start_s, stop_s)
    return float(np.maximum(busy_s[counted], 0.0).sum()) / there_s


def reported(score: Mapping[str, Any], *, force: bool = False) -> dict[str, Any]:
    """Return a score as it may be shown: without P99s unless its run is steady, or with them and marked as `forced`.

    What is withheld of the whole is withheld of each class.
    """
    judged = score["verdict"]
    if judged["answer"] == "steady":
        return dict(score)
    shown, tails = _without_tails(score, force)
    if "classes" in score:
        of_class = {name: _without_tails(values, force)[0] for name, values in score["classes"].items()}
        shown["classes"] = {name: {**score["classes"][name], **values} for name, values in of_class.items()}
    return {**score, **shown, "verdict": {**judged, "forced" if force else "withheld": tails}}


def _without_tails(score: Mapping[str, Any], force: bool) -> tuple[dict[str, Any], list[str]]:
    """Return the tables with tails, without these unless forced, and the names of the tails."""
    shown = {name: dict(score[name]) for name in WITH_TAILS if score.get(name) is not None}
    tails = [(name, tail) for name in shown for tail in TAILS if shown[name].get(tail) is not None]
    for name, tail in () if force else tails:
        shown[name][tail] = None
    return shown, [f"{name}.{tail}" for name, tail in tails]
