"""The runs of a comparison: every side with every seed, in this process or several, charged until one common end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np

from llmsim import experiment
from llmsim.errors import LlmsimError
from llmsim.experiment.own_files import OwnFiles
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

#: gives an executor for as long as it works
Executors = Callable[[], AbstractContextManager[Executor]]
#: told now and then of requests served, and of all there are
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Run:
    """One side's run with one seed."""

    scenario: Scenario
    score: Score
    delivered: Timelines
    first_scheduled_s: Floats  #: (N,) NaN for never
    distributions: Distributions

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


def run_all(
    sides: Sequence[Side],
    seeds: Sequence[int],
    *,
    executors: Executors | None = None,
    progress: Progress | None = None,
) -> list[list[Run]]:
    """Run every side with every seed: a list of runs, one a seed, for each side; in this process without executors.

    The result does not depend on the executor. Readers whose request was dropped are charged until the latest end of
    all runs, so that no side gains by ending earlier. Raises LlmsimError if a worker process was lost.
    """
    tasks = [
        Task(side.scenario.model_copy(update={"seed": seed}).model_dump_json(), side.files)
        for side in sides
        for seed in seeds
    ]
    runs = _here(tasks, progress) if executors is None else _spread(tasks, executors, progress)
    end_s = max(run.end_s for run in runs)
    charged = [charged_until(run, end_s) for run in runs]
    return [charged[i * len(seeds) : (i + 1) * len(seeds)] for i in range(len(sides))]


def run_task(task: Task, progress: Progress | None = None) -> Run:
    """Run and score one task."""
    scenario = Scenario.model_validate_json(task.scenario)
    result = experiment.run(scenario, **task.files.load(), progress=progress)
    scheduled_s = result.record.requests["first_scheduled_s"]
    return Run(scenario, result.score, result.delivered, scheduled_s, result.distributions)


def charged_until(run: Run, end_s: float) -> Run:
    """Score the reader anew, charged until `end_s` where the run dropped a request; nothing else depends on it."""
    user, window = experiment.make_user(run.scenario), experiment.make_window(run.scenario)
    requests = Requests(run.delivered, resolve(window, run.delivered), None, user, None, end_s)
    choices = replace(run.score.section(Choices), run_end_s=end_s)
    return replace(run, score=run.score.having(Reading.of(requests), choices))


def _here(tasks: Sequence[Task], progress: Progress | None) -> list[Run]:
    runs = []
    for i, task in enumerate(tasks):
        runs.append(run_task(task, _part(progress, i, len(tasks))))
        if progress is not None:
            requests = len(runs[-1].delivered)
            progress((i + 1) * requests, len(tasks) * requests)
    return runs


def _part(progress: Progress | None, i: int, runs: int) -> Progress | None:
    """Progress of run i of so many, of the same number of requests each."""
    if progress is None:
        return None
    return lambda done, of: progress(i * of + done, runs * of)


def _spread(tasks: Sequence[Task], executors: Executors, progress: Progress | None) -> list[Run]:
    try:
        with executors() as executor:
            futures = [executor.submit(run_task, task) for task in tasks]
            for done, future in enumerate(_completed(futures), start=1):
                if progress is not None:
                    requests = len(future.result().delivered)
                    progress(done * requests, len(tasks) * requests)
            return [future.result() for future in futures]
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
