"""Service that tenants get over time, as VTC counts it (arXiv 2401.00588): prompt tokens and 2 x output tokens.

A prompt counts when it is admitted, an output token when it is emitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsim.record import Floats, Ints, Record
from llmsim.statistics.fairness import jain_index

#: intervals, (K, 2): begin and end of each, seconds; they ascend and do not touch
Spans = Floats


@dataclass(frozen=True, eq=False)
class Service:
    """What one tenant has been served by certain times, and when its requests waited."""

    times_s: Floats  #: (E,) ascending
    tokens: Floats  #: (E,) served up to each of these times, that one included
    waits_s: Spans  #: when at least one of its requests was in a queue

    def by(self, time_s: Floats) -> Floats:
        """Service by some times, these included, tokens of the shape of `time_s`."""
        place = np.searchsorted(self.times_s, time_s, side="right")
        return np.concatenate([[0.0], self.tokens])[place]


def services(
    record: Record, tenant: Ints, tenants: int, *, prompt_weight: float = 1.0, output_weight: float = 2.0
) -> list[Service]:
    """Service of each tenant in a run; `tenant`, (requests,), has the number of each request's."""
    return [_service(record, tenant == number, prompt_weight, output_weight) for number in range(tenants)]


def _service(record: Record, mine: np.ndarray, prompt_weight: float, output_weight: float) -> Service:
    requests = record.requests
    scheduled = mine & ~np.isnan(requests["first_scheduled_s"])
    times = [requests["first_scheduled_s"][scheduled]]
    tokens = [prompt_weight * requests["prompt_tokens"][scheduled]]
    own = mine[record.segments["request"]]
    heads_s = record.segments["head_s"][own]
    heads_s = heads_s[~np.isnan(heads_s)]
    times.append(heads_s)
    tokens.append(np.full(len(heads_s), output_weight))
    for instance, ends_s in enumerate(record.step_ends_s):
        here = own & (record.segments["instance"] == instance)
        times.append(ends_s)
        tokens.append(output_weight * _emitted(record, here, len(ends_s)))
    all_times, all_tokens = np.concatenate(times), np.concatenate(tokens)
    order = np.argsort(all_times, kind="stable")
    return Service(all_times[order], np.cumsum(all_tokens[order]), _waits_s(record, mine))


def _emitted(record: Record, segments: np.ndarray, steps: int) -> Ints:
    """Tokens of some segments of one instance that each of its decode steps emits, (steps,)."""
    first, count = record.segments["first_step"][segments], record.segments["steps"][segments]
    change = np.bincount(first, minlength=steps + 1) - np.bincount(first + count, minlength=steps + 1)
    emitted: Ints = np.cumsum(change)[:steps]
    return emitted


def _waits_s(record: Record, mine: np.ndarray) -> Spans:
    requests = record.requests
    there_s = requests.get("admitted_s", requests["sent_s"])
    came = mine & ~np.isnan(there_s) & (requests["instance"] >= 0)
    begin_s = there_s[came]
    end_s = np.where(np.isnan(requests["first_scheduled_s"]), requests["end_s"], requests["first_scheduled_s"])[came]
    return spans_covered(begin_s, end_s, 1)


def spans_covered(begin_s: Floats, end_s: Floats, least: int) -> Spans:
    """When at least so many of some spans, (N,) each, lie over each other; spans without length count for nothing."""
    times_s = np.concatenate([begin_s, end_s])
    change = np.repeat([1, -1], [len(begin_s), len(end_s)])
    order = np.lexsort((-change, times_s))
    covered = np.cumsum(change[order]) >= least
    turns = np.flatnonzero(np.diff(covered, prepend=False))
    spans_s = times_s[order][turns].reshape(-1, 2)
    return spans_s[spans_s[:, 1] > spans_s[:, 0]]


def both(one_s: Spans, two_s: Spans) -> Spans:
    """When both of two sets of spans hold."""
    begin_s, end_s = np.concatenate([one_s, two_s]).T
    return spans_covered(begin_s, end_s, 2)


def largest_gap_tokens(one: Service, two: Service) -> float:
    """Largest difference of two tenants' service over an interval in which both wait all the time; 0 without any."""
    waits_s = both(one.waits_s, two.waits_s)
    if not len(waits_s):
        return 0.0
    times_s = np.union1d(one.times_s, two.times_s)
    ahead = one.by(times_s) - two.by(times_s)
    first = np.searchsorted(times_s, waits_s[:, 0], side="right")
    last = np.searchsorted(times_s, waits_s[:, 1], side="right")
    at_begin = one.by(waits_s[:, 0]) - two.by(waits_s[:, 0])
    gaps = [np.ptp(np.append(ahead[a:b], d)) for a, b, d in zip(first, last, at_begin, strict=True)]
    return float(max(gaps))


def jain_while_all_wait(of_tenants: Sequence[Service], weights: Floats) -> float:
    """Jain's index of the service per weight that tenants get while requests of all of them wait; NaN if never."""
    begin_s, end_s = np.concatenate([each.waits_s for each in of_tenants]).T
    spans_s = spans_covered(begin_s, end_s, len(of_tenants))
    if not len(spans_s):
        return float("nan")
    got = [float((each.by(spans_s[:, 1]) - each.by(spans_s[:, 0])).sum()) for each in of_tenants]
    return jain_index(np.array(got) / weights)
