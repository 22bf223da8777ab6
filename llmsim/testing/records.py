"""What every record keeps, whatever the policies decide."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.cluster.clients import ApiPath
from llmsim.cluster.gateway import after_sender
from llmsim.record import Floats, Record
from llmsim.request import Outcome


def check_record(record: Record, *, in_vain: bool = False) -> None:
    """Raise AssertionError unless a record keeps what every record must keep.

    `in_vain`: tokens may be computed and not emitted, as under asynchronous scheduling.
    """
    _check_requests(record)
    _check_token_times(record, in_vain)
    _check_steps(record)
    _check_work(record, in_vain)
    # under asynchronous scheduling a row counts what has come from another instance before its last step
    if not (in_vain and len(record.transfers["request"])):
        _check_littles_law(record)


def check_in_flight(record: Record, max_in_flight: int | None) -> None:
    """Whenever a request is sent, so many at most are between their sending and their end, or their user's leaving."""
    sent_s = np.sort(record.requests["sent_s"])
    gone_s = np.sort(np.fmin(record.requests["left_s"], record.requests["end_s"]))
    sent_s = sent_s[~np.isnan(sent_s)]
    in_flight = np.arange(1, len(sent_s) + 1) - np.searchsorted(gone_s, sent_s, side="right")
    assert max_in_flight is None or (in_flight <= max_in_flight).all(), "more in flight than the clients allow"


def check_gateway(record: Record, api: ApiPath) -> None:
    """Whenever a request is admitted, so many at most are between their admission and their last token's arrival."""
    requests = record.requests
    admitted_s = requests.get("admitted_s", np.empty(0))
    assert (api.max_concurrency is None) == (len(admitted_s) == 0), "admission times without a limit, or none with it"
    entered = ~np.isnan(admitted_s)
    if api.max_concurrency is None or not entered.any():
        return
    finished = requests["outcome"] == Outcome.FINISHED
    gone_s = np.where(finished, after_sender(record, api.output_token_s).end_s, requests["end_s"])
    gone_s = np.sort((gone_s + np.where(np.isnan(requests["left_s"]), api.response_s, 0.0))[entered])
    admitted_s = np.sort(admitted_s[entered])
    inside = np.arange(1, len(admitted_s) + 1) - np.searchsorted(gone_s, admitted_s, side="right")
    assert (inside <= api.max_concurrency).all(), "more at once than the gateway lets through"
    ahead = (requests["admitted_s"] < requests["sent_s"]) | (requests["queued_s"] < requests["admitted_s"])
    assert not ahead.any(), "admitted before it was sent, or queued before it was admitted"


def _check_requests(record: Record) -> None:
    requests = record.requests
    assert len({len(column) for column in requests.values()}) == 1, "not one row, and one outcome, per request"
    assert np.isin(requests["outcome"], list(Outcome)).all(), "an outcome that there is not"
    assert (requests["end_s"] >= requests["arrival_s"]).all(), "ended before it arrived"
    ahead = (requests["sent_s"] < requests["arrival_s"]) | (requests["queued_s"] < requests["sent_s"])
    assert not ahead.any(), "sent before it arrived, or queued before it was sent"
    assert (requests["end_s"] <= record.end_s).all(), "ended after the run"
    finished = requests["outcome"] == Outcome.FINISHED
    emitted = requests["emitted_tokens"]
    assert (emitted[finished] == requests["output_tokens"][finished]).all(), "finished without all tokens"
    assert (emitted <= requests["output_tokens"]).all(), "more tokens than asked for"
    rejected = requests["outcome"] == Outcome.REJECTED
    assert np.isnan(requests["first_scheduled_s"][rejected]).all(), "rejected, yet scheduled"


def _check_token_times(record: Record, in_vain: bool) -> None:
    requests, timelines = record.requests, record.timelines()
    heads = ~np.isnan(timelines.head_s)
    emitted = np.bincount(timelines.request, timelines.count + heads, minlength=len(timelines))
    assert np.array_equal(emitted, requests["emitted_tokens"]), "token times and token counts differ"
    for request in np.flatnonzero(emitted)[:1000]:
        times_s = timelines.token_times_s(request)
        assert times_s[0] > requests["first_scheduled_s"][request] >= requests["queued_s"][request]
        gaps_s = np.diff(times_s)
        together = timelines.paces is not None and bool((gaps_s >= 0).all())  # tokens of one step
        assert together or (gaps_s > 0).all(), "tokens out of order"
        assert times_s[-1] <= requests["end_s"][request], "token after the end"
    decoded = np.sum(record.steps["steps"] * record.steps["decoding"])
    lost = decoded - timelines.steps.sum()
    assert lost == 0 or (in_vain and lost > 0), "tokens decoded and tokens emitted differ"


def _check_steps(record: Record) -> None:
    steps = record.steps
    for instance in range(len(record.step_ends_s)):
        own = steps["instance"] == instance
        start_s, end_s = steps["start_s"][own], steps["end_s"][own]
        assert (end_s > start_s).all(), "a step that takes no time"
        assert (start_s[1:] >= end_s[:-1]).all(), "steps overlap"
        assert (np.diff(record.step_ends_s[instance]) > 0).all(), "step ends out of order"


def _check_work(record: Record, in_vain: bool) -> None:
    """Every token is computed once, but cached ones and the last of each request never, and what was lost once more."""
    decoded = np.sum(record.steps["steps"] * record.steps["decoding"])
    if "tokens" in record.segments:
        decoded += (record.segments["tokens"] - record.segments["steps"]).sum()
    computed = record.steps["prefill_tokens"].sum() + decoded
    assert computed == record.requests["computed_tokens"].sum(), "tokens computed in steps and for requests differ"
    requests = record.requests
    if not np.isin(requests["outcome"], (Outcome.FINISHED, Outcome.REJECTED)).all():
        return
    served = requests["outcome"] == Outcome.FINISHED
    once = requests["prompt_tokens"] + requests["output_tokens"] - 1 - requests["cached_tokens"]
    needed = (once + requests["recomputed_tokens"])[served].sum()
    lost = computed - needed
    assert lost == 0 or (in_vain and 0 < lost <= served.sum()), f"{computed} tokens computed, {needed} needed"


def _check_littles_law(record: Record) -> None:
    requests = record.requests
    spent_s = np.nansum(requests["end_s"] - requests["queued_s"])
    assert present_s(record) < spent_s + 1e-6 * max(1.0, spent_s), "more in the system than there are requests"


def present_s(record: Record) -> float:
    """Integrate the number of requests in the system over time, from the steps table: request-seconds.

    By Little's law (L T = sum of W) this is the sum of the times that the requests spend, up to rounding. It is less
    where requests sit in an instance that does nothing: all held, or in a step that the end of the run cut off; and
    where a request is sent because another one has ended at the end of a row, which does not count it.
    """
    requests, steps = record.requests, record.steps
    area_s = float(np.sum((steps["waiting"] + steps["running"]) * (steps["end_s"] - steps["start_s"])))
    first = requests["instance"].copy()
    first[record.transfers["request"][::-1]] = record.transfers["source"][::-1]  # where they were before they moved
    for instance in range(len(record.step_ends_s)):
        own = steps["instance"] == instance
        came = (first == instance) & (requests["outcome"] != Outcome.REJECTED)
        if own.any():  # a row counts the requests present at its end, also before they came
            area_s -= _before_arrival_s(requests["queued_s"][came], steps["start_s"][own], steps["end_s"][own])
    return area_s


def _before_arrival_s(arrival_s: Floats, start_s: Floats, end_s: Floats) -> float:
    """Sum the times from a row's start to each arrival during it, or at its very end: arrivals go before step ends.

    The last row may count arrivals after its end, too: those in a step that the end of the run cut off.
    """
    row = np.searchsorted(start_s, arrival_s, side="left") - 1
    during = (row >= 0) & ((arrival_s <= end_s[row]) | (row == len(end_s) - 1))
    return float(np.nansum((np.minimum(arrival_s, end_s[row]) - start_s[row])[during]))


def same(one: Record, other: Record) -> bool:
    """Whether two runs agree to the bit in everything but how they grouped steps."""
    return (
        all(np.array_equal(one.requests[name], other.requests[name], equal_nan=True) for name in one.requests)
        and all(np.array_equal(a, b, equal_nan=True) for a, b in zip(_segments(one), _segments(other), strict=True))
        and all(np.array_equal(a, b) for a, b in zip(one.step_ends_s, other.step_ends_s, strict=True))
        and all(np.array_equal(one.transfers[n], other.transfers[n], equal_nan=True) for n in one.transfers)
        and all(np.array_equal(one.instance_states[n], other.instance_states[n]) for n in one.instance_states)
        and one.end_s == other.end_s
    )


def _segments(record: Record) -> list[NDArray[Any]]:
    order = np.lexsort((record.segments["first_step"], record.segments["request"]))
    return [column[order] for column in record.segments.values()]
