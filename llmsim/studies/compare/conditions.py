"""``--fail-if "ttft_s.p99 > +5%"``: what a comparison must not show.

The condition speaks of the difference of a side from the first side: with a percent sign relative to the first side,
otherwise in the metric's own unit. It fails if the *estimate* lies beyond the bound. Runs repeat to the bit, so that
the answer does not flicker; and a rule that waited for the whole interval to lie beyond would let the noisiest
comparisons pass most easily. Whether the interval lies beyond the bound as a whole is said with the answer, so that a
person can add seeds. Where a number cannot be had, or must not be relied on (the P99 of a run that is not steady), the
condition is untold: a check that could not look has neither passed nor failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmsim.errors import InputError, nearest
from llmsim.metrics.sections.other_forms import is_form, lacking_bound
from llmsim.slo import Slo
from llmsim.statistics import Interval
from llmsim.studies.compare.differences import Difference

GRAMMAR = re.compile(r"\s*([\w.]+)\s*([<>])\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(%?)\s*")
EXAMPLE = 'expected METRIC > BOUND or METRIC < BOUND, such as "ttft_s.p99 > +5%" or "slo.attainment < -0.01"'


@dataclass(frozen=True, slots=True)
class Condition:
    """What must not be: a difference above or below a bound."""

    text: str
    metric: str
    above: bool
    bound: float  #: a share for relative ones
    relative: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A condition held against one side."""

    condition: Condition
    side: str
    failed: bool
    words: str
    untold: bool = False  #: it could not be judged: neither failed nor passed

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "condition": self.condition.text,
            "side": self.side,
            "failed": self.failed,
            "untold": self.untold,
            "words": self.words,
        }


def parse_condition(text: str) -> Condition:
    """Read a condition; InputError for one that does not follow the grammar."""
    found = GRAMMAR.fullmatch(text)
    if found is None:
        raise InputError(f'--fail-if "{text}": {EXAMPLE}')
    metric, sign, bound, percent = found.groups()
    return Condition(text.strip(), metric, sign == ">", float(bound) / (100 if percent else 1), bool(percent))


def on_forms(conditions: Iterable[Condition]) -> bool:
    """Whether a condition is on a form of another paper, which runs are judged by only where it is asked for."""
    return any(is_form(condition.metric) for condition in conditions)


def check_known(conditions: Iterable[Condition], metrics: Iterable[str], slo: Slo) -> None:
    """Refuse a condition on a metric that no side has, or on a form that needs another bound of the SLO."""
    known = list(metrics)
    for condition in conditions:
        if is_form(condition.metric) and (why := lacking_bound(condition.metric, slo)):
            raise InputError(f'--fail-if "{condition.text}": {condition.metric}: {why}')
        if condition.metric not in known:
            raise InputError(
                f'--fail-if "{condition.text}": unknown metric {condition.metric}{nearest(condition.metric, known)}'
            )


def judge(condition: Condition, side: str, differences: Mapping[str, Difference], *, force: bool = False) -> Answer:
    """Hold a condition against the differences of a side; `force` relies on P99s of runs that are not steady."""
    difference = differences.get(condition.metric)
    if difference is None or difference.first is None or difference.other is None:
        return Answer(condition, side, False, "cannot be judged: a run has no such number", untold=True)
    if difference.caution and not force:
        words = f"cannot be judged: a run is {difference.caution} (--force judges it)"
        return Answer(condition, side, False, words, untold=True)
    interval = difference.relative if condition.relative else difference.interval
    if interval is None:
        words = "cannot be judged: the first side is 0, so that no share of it is known"
        return Answer(condition, side, False, words, untold=True)
    beyond = interval.estimate > condition.bound if condition.above else interval.estimate < condition.bound
    return Answer(condition, side, beyond, f"{_value(interval, condition)}; {_sure(interval, condition.bound)}")


def _value(interval: Interval, condition: Condition) -> str:
    return f"{100 * interval.estimate:+.3g} %" if condition.relative else f"{interval.estimate:+.4g}"


def _sure(interval: Interval, bound: float) -> str:
    if interval.low == float("-inf"):
        return "how sure is not known: one run, give --seeds"
    if interval.covers(bound) and interval.half_width > 0:
        return f"the {100 * interval.level:g} % interval includes the bound: more seeds would tell"
    return f"the whole {100 * interval.level:g} % interval lies on this side of the bound"
