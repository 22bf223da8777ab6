"""Every metric of one side against the first side's, pair by pair: absolute and relative differences with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np

from llmsim.metrics import catalogue
from llmsim.metrics.distributions import interval
from llmsim.metrics.score import Score
from llmsim.statistics import STEADY, Interval, paired_difference
from llmsim.statistics.intervals import LEVEL, Floats, student_t
from llmsim.studies.compare.request_blocks import Blocks, Pairs
from llmsim.studies.compare.side_runs import Run

#: what an interval covers
Covers = Literal["seeds", "requests"]
OVER_SEEDS: Covers = "seeds"
OVER_REQUESTS: Covers = "requests"
#: a share from which, or from 1 less it, few requests decide
RARE = 0.1


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of `other` against `first`; `interval` and `relative` are None where a run has no such number."""

    metric: str
    better: int  #: 1: more is better, -1: less is, 0: neither
    first: float | None  #: mean over seeds
    other: float | None
    interval: Interval | None  #: other - first
    relative: Interval | None  #: the same as a share of first; None for a first of 0 also
    covers: Covers | None  #: what would be drawn anew; None: the interval is not bounded
    caution: str = ""  #: why not to rely on it: a run is not steady

    @property
    def certain(self) -> bool:
        """The interval is bounded and leaves out 0."""
        return self.interval is not None and (self.interval.positive or self.interval.negative)

    @property
    def equivalent(self) -> bool:
        """The whole relative interval lies within the margin below which its KPI's differences are noise."""
        margin, found = catalogue.kpi_of(self.metric).margin, self.relative
        sure = self.interval is not None and self.interval.bounded and found is not None and found.bounded
        return sure and found is not None and max(abs(found.low), abs(found.high)) <= margin

    @property
    def zero(self) -> bool:
        """No difference at all, in any pair."""
        return self.interval is not None and self.interval.estimate == self.interval.low == self.interval.high == 0

    def unbounded(self) -> Difference:
        """The same, with nothing said of how sure it is; what is equal in every pair stays so."""
        if self.interval is None or self.zero:
            return self
        relative = None if self.relative is None else self.relative.unbounded()
        return replace(self, interval=self.interval.unbounded(), relative=relative, covers=None)

    def withheld(self) -> Difference:
        """The same without its numbers."""
        return replace(self, first=None, other=None, interval=None, relative=None, covers=None)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        intervals = {name: getattr(self, name) for name in ("interval", "relative")}
        return {
            "metric": self.metric,
            "better": {1: "more", -1: "less", 0: None}[self.better],
            "first": self.first,
            "other": self.other,
            **{name: None if one is None else one.to_dict() for name, one in intervals.items()},
            "covers": self.covers,
            "caution": self.caution or None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; KeyError for anything else."""
        interval, relative = (
            None if values[name] is None else Interval.from_dict(values[name]) for name in ("interval", "relative")
        )
        better, caution = {"more": 1, "less": -1, None: 0}[values["better"]], values["caution"] or ""
        numbers = values["first"], values["other"]
        return cls(values["metric"], better, *numbers, interval, relative, values["covers"], caution)


def differences(first: Sequence[Run], other: Sequence[Run], *, paired: bool, level: float = LEVEL) -> list[Difference]:
    """Compare two sides, a run a seed each, in every metric that both have.

    Over seeds: paired t; an attainment's difference is not bounded where few requests decide on both sides, too few to
    say how sure either is (`metrics.distributions`). For one seed: blocks of requests resampled in pairs (`blocks`),
    where `paired` says that both runs have the same requests and that is valid; otherwise the estimate stands alone.
    """
    mine, theirs = ([dict(metrics(run.score)) for run in runs] for runs in (first, other))
    caution = _caution(first, other)
    blocks = Pairs.of(first[0], other[0]) if paired and len(first) == 1 else None
    out = []
    for name in mine[0]:
        pairs = [(a.get(name), b.get(name)) for a, b in zip(mine, theirs, strict=True)]
        said = caution if catalogue.kpi_of(name).tail else ""
        found = _difference(name, pairs, None if blocks is None else blocks.blocks(name), said, level)
        out.append(found if len(first) == 1 or _known(name, pairs, first, other) else found.unbounded())
    return out


def _known(
    name: str, pairs: Sequence[tuple[float | None, float | None]], first: Sequence[Run], other: Sequence[Run]
) -> bool:
    """Whether runs tell how a share differs: not where both sides have hardly any misses, or hardly any hits.

    Nor how often a test of a run holds: a few runs that all hold look certain. Student's t takes a handful of misses
    for normal; other metrics, and attainments in the middle, are safe with it.
    """
    if catalogue.kpi_of(name).kind == "test":
        return False
    if name != "slo.attainment":
        return True
    sides = [[value for pair in pairs if (value := pair[side]) is not None] for side in (0, 1)]
    means = [float(np.mean(values)) if len(values) == len(pairs) else 0.5 for values in sides]
    if max(means) > RARE and min(means) < 1 - RARE:
        return True
    kept = ([run.distributions for run in runs] for runs in (first, other))
    return any(interval(name, values, runs).bounded for values, runs in zip(sides, kept, strict=True))


def metrics(score: Score) -> Iterator[tuple[str, float | None]]:
    """Yield the metrics of a score that are compared, by dotted name, such as ``("ttft_s.p99", 0.31)``."""
    keys = set(catalogue.compared(requested=True))
    return ((key, value) for key, value in catalogue.leaves(score.to_dict()) if key in keys)


def relative_difference(first: Floats, other: Floats, level: float = LEVEL) -> Interval | None:
    """(mean of other - mean of first) / mean of first, from pairs (n,): the ratio of two means, with its interval.

    The usual linearisation (Cochran, Sampling Techniques, 1977, 6.4): t of other - ratio first. None for a first of 0
    unless other is 0 too.
    """
    base, n = float(first.mean()), len(first)
    if base == 0:
        return Interval(0.0, 0.0, 0.0, level, n) if not first.any() and not other.any() else None
    change = float((other - first).mean()) / base
    if n == 1:
        return Interval(change, -math.inf, math.inf, level, n)
    rest = (other - first - change * first) / base
    half = student_t((1 + level) / 2, n - 1) * float(rest.std(ddof=1)) / math.sqrt(n)
    return Interval(change, change - half, change + half, level, n)


def _difference(
    name: str, pairs: Sequence[tuple[float | None, float | None]], blocks: Blocks | None, caution: str, level: float
) -> Difference:
    a, b = ([value for value in values if value is not None] for values in zip(*pairs, strict=True))
    means = [float(np.mean(x)) if len(x) == len(pairs) else None for x in (a, b)]
    if means[0] is None or means[1] is None:
        return Difference(name, catalogue.kpi_of(name).better, means[0], means[1], None, None, None, caution)
    first, other = np.array(a, dtype=np.float64), np.array(b, dtype=np.float64)
    interval, relative = paired_difference(first, other, level), relative_difference(first, other, level)
    covers: Covers | None = OVER_SEEDS if len(pairs) > 1 else None
    if blocks is not None:
        interval, relative = blocks.around(interval.estimate, None if relative is None else relative.estimate, level)
        covers = OVER_REQUESTS
    return Difference(name, catalogue.kpi_of(name).better, means[0], means[1], interval, relative, covers, caution)


def _caution(first: Sequence[Run], other: Sequence[Run]) -> str:
    """Why P99s of these runs say nothing of a steady state; empty if they do."""
    answers = sorted({run.verdict.answer for run in [*first, *other]} - {STEADY})
    return " or ".join(answers)
