"""Along which sizes, or loads, a plan searches, and where it begins."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.guess import Most, likely_instances, too_few
from llmsim.studies.plan.loads import USERS
from llmsim.studies.plan.plan_question import Question
from llmsim.studies.plan.search import boundary

#: the load is bracketed in steps that begin with this factor and double, and no further than this many of them; down to
#: a four-hundredth, where servers are idle, and an unloaded one that misses its targets misses them at any load
RATE_STEP, RATE_STEPS, STEPS_DOWN = 1.1, 7, 6
#: share of what instances can do at most at which the largest load is looked for first
STARTS = 0.9

#: whether a size or load holds
Holds = Callable[[float], bool]
#: neighbours (holds there, does not), None where the line ends first
Neighbours = tuple[float | None, float | None]
#: looks for them with what is likely to hold, by one run of each, and from there with what surely does
Search = Callable[[Holds, Holds], Neighbours]


def by_instances(question: Question, candidate: Candidate, most: Most | None) -> Search:
    """The fewest instances that carry the question's load: from what one can do at most, if that is known."""
    largest, least = question.table.most_instances, 1
    start = 1 if candidate.scenario.pool else question.scenario.cluster.instances
    if most is not None:
        start = likely_instances(question.load.amount, most.rate_per_s)
        least = max(1, min(too_few(question.load.amount, most.rate_per_s), start))

    def search(likely: Holds, holds: Holds) -> Neighbours:
        good, bad = _along_sizes(likely, float(min(start, largest)), least, largest)
        begin = good or bad
        assert begin is not None
        return _along_sizes(holds, begin, least, largest)

    return search


def _along_sizes(holds: Holds, start: float, least: int, largest: int) -> Neighbours:
    steps = _Steps()
    return boundary(
        holds,
        start,
        easier=lambda n: min(n + steps.next(), largest) if n < largest else None,
        harder=lambda n: max(n - steps.next(), least) if n > least else None,
        between=lambda good, bad: float((good + bad) // 2) if good - bad > 1 else None,
    )


@dataclass
class _Steps:
    """1, 2, 4, …: a search that begins near its end takes a step or two."""

    size: int = 1

    def next(self) -> int:
        size, self.size = self.size, 2 * self.size
        return size


def at_one_size(instances: int) -> Search:
    """One size alone: those that a rule of autoscaling begins with."""

    def search(likely: Holds, holds: Holds) -> Neighbours:
        return (float(instances), None) if holds(float(instances)) else (None, float(instances))

    return search


def by_load(question: Question, size: int, most: Most | None) -> Search:
    """The largest load of so many instances: from what one can do at most, if that is known."""
    load, near = question.load, 1 + question.table.resolution
    start = load.amount if most is None else rounded(STARTS * size * most.rate_per_s)

    def search(likely: Holds, holds: Holds) -> Neighbours:
        good, bad = along_loads(start, users=load.key == USERS, near=near)(likely)
        begin = good or bad
        assert begin is not None
        if good is None or (bad is None and holds(good)):
            return (begin, None) if holds(begin) else (None, begin)
        return along_loads(good, users=load.key == USERS, near=near, step=near, above=bad)(holds)

    return search


def along_loads(
    start: float, *, users: bool, near: float, step: float = RATE_STEP, above: float | None = None
) -> Callable[[Holds], Neighbours]:
    """The largest load, up to the factor `near`: bracketed in growing steps, then bisected; of users, whole ones.

    `above` is the first that is looked at above `start`.
    """
    steps = _Steps()

    def further(amount: float, sign: int) -> float | None:
        if sign > 0 and amount == start and above is not None:
            return above
        if steps.size >= 2 ** (RATE_STEPS if sign > 0 else STEPS_DOWN):
            return None
        factor = step ** (sign * steps.next())
        if not users:
            return rounded(amount * factor)
        moved = max(1.0, math.floor(amount * factor) if sign < 0 else math.ceil(amount * factor))
        return None if moved == amount else moved

    def between(good: float, bad: float) -> float | None:
        if bad / good <= near:
            return None
        if users:
            return float((good + bad) // 2) if bad - good > 1 else None
        return rounded(math.sqrt(good * bad))

    return partial(
        boundary, start=start, easier=lambda x: further(x, -1), harder=lambda x: further(x, 1), between=between
    )


def rounded(rate_per_s: float) -> float:
    """Four digits: a rate that a person can ask for again, still inside a bracket of the finest resolution."""
    return float(f"{rate_per_s:.4g}")
