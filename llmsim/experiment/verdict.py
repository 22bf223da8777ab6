"""Whether a run may speak of a steady state, and what its score keeps to itself if it may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from llmsim.cluster.gateway import after_sender
from llmsim.metrics import catalogue, ranges
from llmsim.metrics.paid_time import SERVING, instance_seconds
from llmsim.metrics.score import Score
from llmsim.metrics.sections.class_scores import ClassScores
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.metrics.single_steps import busy_s
from llmsim.metrics.summary import TAIL_STATISTICS
from llmsim.metrics.window import Window
from llmsim.record import Floats, Record
from llmsim.request import Outcome
from llmsim.scenario import Scenario, SyntheticWorkload
from llmsim.statistics import OVERLOADED, STEADY, TOO_SHORT, UNSERVED, Arrivals, Verdict, judge
from llmsim.statistics.steady import UNKNOWN
from llmsim.workload.synthetic import arrival_process

#: what a verdict answers, in words
ANSWERS = {STEADY: "steady", OVERLOADED: "overloaded", TOO_SHORT: "too short to say", UNSERVED: UNSERVED}
#: how requests end that nothing came of
GIVEN_UP = (Outcome.ABANDONED, Outcome.CANCELLED, Outcome.REJECTED)
P99S_WITHHELD = "P99s withheld, --force shows them"
P99S_MARKED = "P99s marked * are not to be relied on"


def verdict(
    record: Record,
    window: Window,
    arrival_s: Floats | None = None,
    *,
    output_token_s: float = 0.0,
    arrivals: Arrivals = UNKNOWN,
) -> Verdict:
    """Judge a run from its first to its last arrival, or within the bounds that its window gives.

    `arrival_s`: (requests,) where waits count from, if not from the record's arrivals; in a closed loop, the sending.
    `arrivals` is what the scenario says of them. A request waits until it is scheduled, and again while its first token
    waits for the gateway's sender.
    """
    requests = record.requests
    arrival_s = requests["arrival_s"] if arrival_s is None else arrival_s
    waits_until_s, end_s = requests["first_scheduled_s"], requests["end_s"]
    if output_token_s > 0:
        sent = after_sender(record, output_token_s)
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
        utilisation=share_in_steps(record, start_s, stop_s),
        arrivals=arrivals,
        given_up=bool(np.isin(requests["outcome"], GIVEN_UP).all()),
    )


def arrivals_of(scenario: Scenario) -> Arrivals:
    """What a scenario says of its arrivals before any of them comes: nothing of those of a trace, or of classes."""
    workload = scenario.workload
    if not isinstance(workload, SyntheticWorkload) or workload.classes_arrive:
        return UNKNOWN
    if workload.arrivals.concurrency is not None:
        return Arrivals(closed=True)
    process = arrival_process(workload.arrivals.process, **workload.arrivals.options)
    return Arrivals(process.repeats_s, known=True)


def share_in_steps(record: Record, start_s: float, stop_s: float, instances: range | None = None) -> float | None:
    """Share of the time from `start_s` to `stop_s` in which an instance was in a step, over all instances, or some.

    Of those that come and go, the time in which they could serve counts.
    """
    if stop_s <= start_s:
        return None
    numbers = instances or range(len(record.step_ends_s))
    in_steps_s = sum(busy_s(record, number, start_s, stop_s) for number in numbers)
    there_s = (stop_s - start_s) * len(numbers)
    if len(record.instance_states["start_s"]):
        there_s = instance_seconds(record.instance_states, SERVING, start_s, stop_s)
    return in_steps_s / there_s


def reported(score: Score, *, force: bool = False) -> Score:
    """Return a score as it may be shown: without P99s unless its run is steady, or with them and marked as `forced`.

    What is withheld of the whole is withheld of each class.
    """
    verdict = score.section(RunVerdict)
    if verdict.answer == STEADY:
        return score
    tails = [key for key in _tails(score) if score[key] is not None]
    marked = replace(verdict, forced=tails) if force else replace(verdict, withheld=tails)
    shown = (score if force else _without_tails(score)).having(marked)
    classes = score.find(ClassScores)
    if classes is None or force:
        return shown
    return shown.having(ClassScores({name: _without_tails(of_class) for name, of_class in classes.by_name.items()}))


def _tails(score: Score) -> list[str]:
    """Keys of the percentiles of a score that need a steady state."""
    there = [one.key for one in catalogue.summaries() if one.tail and score.get(one.key) is not None]
    return [f"{key}.{tail}" for key in there for tail in TAIL_STATISTICS]


def _without_tails(score: Score) -> Score:
    keys = {one.key for one in catalogue.summaries() if one.tail}
    nothing: Any = dict.fromkeys(TAIL_STATISTICS)
    changed = []
    for section in filter(None, score.sections.values()):
        names = [name for name in section.present() if (f"{section.key}.{name}" if section.key else name) in keys]
        waits = {name: section[name].changed(**nothing) for name in names if section[name] is not None}
        changed += [section.changed(**waits)] if waits else []
    return score.having(*changed)
