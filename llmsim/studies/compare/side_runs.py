"""The runs of a comparison: every side with every seed, in this process or several, charged until one common end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from llmsim import experiment
from llmsim.errors import LlmsimError
from llmsim.experiment.own_files import OwnFiles
from llmsim.experiment.run_scenario import asked_requests, forms_of
from llmsim.metrics.distributions import Distributions
from llmsim.metrics.score import Score
from llmsim.metrics.scored import Requests
from llmsim.metrics.sections.choices import Choices
from llmsim.metrics.sections.reader import Reading
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.metrics.window import resolve
from llmsim.record import Floats, Timelines
from llmsim.scenario import Scenario, SyntheticWorkload
from llmsim.statistics import STEADY
from llmsim.studies.compare.sides import Side
from llmsim.studies.compare.timeline_arrays import from_arrays, to_arrays
from llmsim.studies.kept_runs import Arrays, Damaged, KeptRuns
from llmsim.studies.sweep.point_keys import key_of
from llmsim.studies.sweep.point_run import PointResult

#: gives an executor for as long as it works
Executors = Callable[[], AbstractContextManager[Executor]]
#: told now and then of requests served, and of all there are
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Run:
    """One side's run with one seed."""

    scenario: Scenario
    score: Score
    delivered: Timelines  #: as asked: one row for each of N requests, however often it was tried
    first_scheduled_s: Floats  #: (N,) NaN for never
    distributions: Distributions

    def to_kept(self) -> tuple[dict[str, Any], Arrays]:
        """JSON values and arrays, as `from_kept` reads them."""
        point = PointResult(self.score, self.distributions)
        return point.to_dict(), {**to_arrays(self.delivered), "first_scheduled_s": self.first_scheduled_s}

    @classmethod
    def from_kept(cls, task: Task, values: Mapping[str, Any], arrays: Arrays) -> Self:
        """Read what `to_kept` gave; KeyError, TypeError, AttributeError or ValueError for anything else."""
        point = PointResult.from_dict(values)
        times, scenario = from_arrays(arrays), Scenario.model_validate_json(task.scenario)
        return cls(scenario, point.score, times, arrays["first_scheduled_s"], point.distributions)

    @property
    def end_s(self) -> float:
        """Until when readers whose request was dropped are charged."""
        return self.score.section(Choices).run_end_s

    @property
    def steady(self) -> bool:
        """Whether its percentiles describe a steady state."""
        return self.verdict.answer == STEADY

    @property
    def verdict(self) -> RunVerdict:
        """Whether it is steady, and why."""
        return self.score.section(RunVerdict)

    def same_requests(self, other: Run) -> bool:
        """Whether both were asked the same, request by request; arrivals in a closed loop are the run's own doing."""
        one, two = self.delivered, other.delivered
        return (
            len(one) == len(two)
            and np.array_equal(one.prompt_tokens, two.prompt_tokens)
            and np.array_equal(one.output_tokens, two.output_tokens)
            and (self._sets_arrivals or other._sets_arrivals or np.array_equal(one.arrival_s, two.arrival_s))
        )

    @property
    def _sets_arrivals(self) -> bool:
        """Whether the arrivals that latencies count from depend on the server."""
        workload = self.scenario.workload
        closed = isinstance(workload, SyntheticWorkload) and workload.arrivals.concurrency is not None
        return closed or self.scenario.measured_from == "sent"


@dataclass(frozen=True, slots=True)
class Task:
    """A run as text, for any process."""

    scenario: str  #: JSON
    files: OwnFiles
    forms: bool = False  #: is judged by the rules of other papers, too

    @property
    def key(self) -> str:
        """The hash of all that its numbers depend on, and whether it has the forms of other papers."""
        return f"{key_of(Scenario.model_validate_json(self.scenario), self.files)}{'-forms' if self.forms else ''}"


def run_all(
    sides: Sequence[Side],
    seeds: Sequence[int],
    *,
    executors: Executors | None = None,
    progress: Progress | None = None,
    kept: KeptRuns | None = None,
    stored: Sequence[Run] = (),
    forms: bool = False,
) -> list[list[Run]]:
    """Run every side with every seed: a list of runs, one a seed, for each side; in this process without executors.

    `stored` are runs of a side before them, one a seed. `forms`: scores have the rules of other papers, too.

    The result does not depend on the executor. Readers whose request was dropped are charged until the latest end of
    all runs, so that no side gains by ending earlier. Runs that are `kept` are not made again, and others are kept as
    they are made. Raises LlmsimError if a worker process was lost.
    """
    tasks = [
        Task(side.scenario.model_copy(update={"seed": seed}).model_dump_json(), side.files, forms)
        for side in sides
        for seed in seeds
    ]
    known = {} if kept is None else {task: run for task in tasks if (run := _kept(task, kept)) is not None}
    left = [task for task in dict.fromkeys(tasks) if task not in known]
    begun = _here(left, progress, len(known), len(tasks)) if executors is None else _spread(left, executors)
    with closing(begun):  # else processes would go on beside an error
        for task, run in begun:
            known[task] = run
            if kept is not None:
                kept.keep(task.key, *run.to_kept())
            if progress is not None:
                progress(len(known) * len(run.delivered), len(tasks) * len(run.delivered))
    runs = [*stored, *(known[task] for task in tasks)]
    end_s = max(run.end_s for run in runs)
    charged = [charged_until(run, end_s) for run in runs]
    return [charged[i : i + len(seeds)] for i in range(0, len(charged), len(seeds))]


def run_task(task: Task, progress: Progress | None = None) -> Run:
    """Run and score one task."""
    scenario = Scenario.model_validate_json(task.scenario)
    result = experiment.run(scenario, **task.files.load(), progress=progress)
    return run_of(result, forms=task.forms)


def run_of(result: experiment.Result, *, forms: bool = False) -> Run:
    """What a comparison needs of a result; with `forms` judged by the rules of other papers, too."""
    asked = asked_requests(result, experiment.make_window(result.scenario))
    made = (forms_of(asked, result.scenario),) if forms else ()
    assert asked.all_scheduled_s is not None
    score = result.score.having(*made)
    return Run(result.scenario, score, asked.timelines, asked.all_scheduled_s, Distributions.of(asked))


def charged_until(run: Run, end_s: float) -> Run:
    """Score the reader anew, charged until `end_s` where the run dropped a request; nothing else depends on it."""
    user, window = experiment.make_user(run.scenario), experiment.make_window(run.scenario)
    requests = Requests(run.delivered, resolve(window, run.delivered), None, user, None, end_s)
    choices = replace(run.score.section(Choices), run_end_s=end_s)
    return replace(run, score=run.score.having(Reading.of(requests), choices))


def _kept(task: Task, kept: KeptRuns) -> Run | None:
    """Read what is kept of a task's run; None where that is nothing, or damaged."""
    try:
        found = kept.find(task.key)
        return None if found is None else Run.from_kept(task, found, kept.arrays(task.key, found))
    except (Damaged, ValueError, KeyError, TypeError, AttributeError):
        return None


def _here(
    tasks: Sequence[Task], progress: Progress | None, done: int, of: int
) -> Generator[tuple[Task, Run], None, None]:
    """Run tasks one after another; so many others are done already, of so many in all."""
    for i, task in enumerate(tasks, start=done):
        yield task, run_task(task, _part(progress, i, of))


def _part(progress: Progress | None, i: int, runs: int) -> Progress | None:
    """Progress of run i of so many, of the same number of requests each."""
    if progress is None:
        return None
    return lambda done, of: progress(i * of + done, runs * of)


def _spread(tasks: Sequence[Task], executors: Executors) -> Generator[tuple[Task, Run], None, None]:
    try:
        with executors() as executor:
            futures = {executor.submit(run_task, task): task for task in tasks}
            for future in _completed(list(futures)):
                yield futures[future], future.result()
    except BrokenExecutor:
        raise LlmsimError("a worker process died, out of memory or killed; try --jobs 1, or fewer requests") from None


def _completed(futures: Sequence[Future[Run]]) -> Iterator[Future[Run]]:
    """Futures as they end; the first that failed ends all."""
    for future in as_completed(futures):
        if future.exception() is not None:
            for other in futures:
                other.cancel()
            future.result()
        yield future
