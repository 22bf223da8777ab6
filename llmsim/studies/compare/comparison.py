"""A whole comparison: sides run with the same seeds, differences, which requests pay, and what must not be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from llmsim.errors import InputError
from llmsim.experiment import make_slo
from llmsim.metrics import catalogue
from llmsim.request import Outcome
from llmsim.scenario import Scenario
from llmsim.statistics.intervals import LEVEL
from llmsim.studies.compare.conditions import Answer, Condition, check_known, judge
from llmsim.studies.compare.differences import Difference, differences, metrics
from llmsim.studies.compare.request_pairs import Columns, Group, Pair, groups, most_changed, pair
from llmsim.studies.compare.side_runs import Executors, Progress, Run, run_all
from llmsim.studies.compare.sides import Side
from llmsim.studies.kept_runs import KeptRuns


@dataclass(frozen=True, eq=False)
class Against:
    """One side against the first."""

    side: Side
    runs: Sequence[Run]
    differences: dict[str, Difference]
    pairs: Sequence[Pair]  #: one a seed; empty where the requests are not the same
    groups: Sequence[Group]  #: likewise
    picked: dict[str, int]  #: requests of the first seed that changed most, words -> id

    @property
    def requests(self) -> Columns:
        """Every pair of requests as columns."""
        tables = [one.columns() for one in self.pairs]
        return {name: np.concatenate([table[name] for table in tables]) for name in (tables[0] if tables else {})}


@dataclass(frozen=True, eq=False)
class Comparison:
    """The first side, every other against it, and the answers to the conditions."""

    first: Side
    runs: Sequence[Run]  #: of the first side, one a seed
    seeds: tuple[int, ...]
    others: Sequence[Against]
    answers: Sequence[Answer]
    notes: Sequence[str] = field(default_factory=list)  #: what to know before believing any of it

    @property
    def failed(self) -> bool:
        """Whether a condition failed."""
        return any(answer.failed for answer in self.answers)

    @property
    def untold(self) -> bool:
        """Whether a condition could not be judged."""
        return any(answer.untold for answer in self.answers)

    @property
    def sides(self) -> Iterator[tuple[Side, Sequence[Run]]]:
        """Every side with its runs, the first first."""
        yield self.first, self.runs
        yield from ((one.side, one.runs) for one in self.others)


def compare(
    sides: Sequence[Side],
    *,
    seeds: int = 1,
    conditions: Sequence[Condition] = (),
    force: bool = False,
    executors: Executors | None = None,
    progress: Progress | None = None,
    kept: KeptRuns | None = None,
    baseline: Sequence[Run] = (),
    level: float = LEVEL,
    forms: bool = False,
) -> Comparison:
    """Run the sides with `seeds` seeds each, counted from their own, and compare each with the first.

    `force` lets conditions rest on P99s of runs that are not steady. The same result whatever the executor, and whether
    runs are `kept` from before or made. With a `baseline`, the runs of the first side, the others run with its seeds.
    With `forms` runs are judged by the rules of other papers, too, as a `baseline` must be; conditions on these need
    it. Raises InputError for fewer than one seed, an unknown metric in a condition,
    and a window without requests.
    """
    if seeds < 1:
        raise InputError(f"{seeds} seeds: expected at least 1")
    check_known(conditions, known_metrics(sides[0].scenario, forms=forms), make_slo(sides[0].scenario))
    if baseline and seeds not in (1, len(baseline)):
        raise InputError(f"{seeds} seeds: the baseline has {len(baseline)}; leave them out, or give more runs of it")
    start = sides[0].scenario.seed
    numbers = tuple(run.scenario.seed for run in baseline) or tuple(range(start, start + seeds))
    seeds, to_run = len(numbers), sides[1:] if baseline else sides
    runs = run_all(to_run, numbers, executors=executors, progress=progress, kept=kept, stored=baseline, forms=forms)
    notes = list(_notes(sides, runs))
    if seeds > 1 and all(_all_the_same(of_side) for of_side in runs):
        notes.append(f"{seeds} seeds give the same run: nothing here is random, so that one seed is shown")
        numbers, runs = numbers[:1], [of_side[:1] for of_side in runs]
    others = [_against(side, runs[0], of_side, level) for side, of_side in zip(sides[1:], runs[1:], strict=True)]
    answers = [
        judge(condition, str(one.side), one.differences, force=force) for one in others for condition in conditions
    ]
    return Comparison(sides[0], runs[0], numbers, others, answers, notes)


def known_metrics(scenario: Scenario, *, forms: bool = False) -> list[str]:
    """The metrics that a comparison of such scenarios has, by name; with `forms` those of other papers, too."""
    return list(catalogue.compared(scenario, requested=forms))


def _against(side: Side, first: Sequence[Run], other: Sequence[Run], level: float) -> Against:
    same = all(one.same_requests(two) for one, two in zip(first, other, strict=True))
    found = {one.metric: one for one in differences(first, other, paired=same, level=level)}
    if not same:
        return Against(side, other, found, [], [], {})
    pairs = [pair(one, two) for one, two in zip(first, other, strict=True)]
    return Against(side, other, found, pairs, groups(pairs, level), most_changed(pairs[0]))


def _notes(sides: Sequence[Side], runs: Sequence[Sequence[Run]]) -> Iterator[str]:
    first, *others = runs
    for side, of_side in zip(sides[1:], others, strict=True):
        if not all(one.same_requests(two) for one, two in zip(first, of_side, strict=True)):
            yield f"{side} served other requests than {sides[0]}: nothing is said of single requests"
    if len(first) > 1 and all(first[0].same_requests(run) for run in first[1:]):
        yield "every seed has the same requests: intervals over seeds say nothing of other requests"
    every = [run for of_side in runs for run in of_side]
    dropped = (np.isin(run.delivered.outcome, (Outcome.ABANDONED, Outcome.REJECTED)).any() for run in every)
    if all(side.scenario.user.charge == "until_run_end" for side in sides) and any(dropped):
        yield f"readers of dropped requests are charged until {first[0].end_s:,.0f} s, the latest end of all runs"


def _all_the_same(runs: Sequence[Run]) -> bool:
    """Whether all seeds gave the same run, so that several of them would feign certainty."""
    scores = [dict(metrics(run.score)) for run in runs]
    return all(runs[0].same_requests(run) for run in runs[1:]) and all(one == scores[0] for one in scores[1:])
