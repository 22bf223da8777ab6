"""Measure one run in a process of its own, so that no run sees the memory or the warm caches of another."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import BrokenExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import simpy

from llmsim.errors import LlmsimError
from llmsim.experiment import assemble, delivered, make_workload
from llmsim.experiment.assembly import Progress
from llmsim.metrics.score import score
from llmsim.record import Record
from llmsim.scenario import Scenario
from llmsim.studies.processes import process_pool
from llmsim.testing import same
from llmsim.workload.contract import Workload
from llmsim.workload.streams import streams

T = TypeVar("T")

YARDSTICK_TIMEOUTS = 100_000
LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run cost, and what it did. Wall-clock times are those of the fastest of several repeats."""

    requests: int
    steps: int  #: engine steps
    rows: int  #: of the table of steps: single steps, and stretches of them
    tokens: int  #: output tokens
    simulated_s: float
    wall_s: float  #: from workload arrays to score: `simulate_s` + `score_s`
    simulate_s: float  #: building instances included, which reads the step times
    score_s: float  #: timelines and score
    peak_bytes: int  #: most memory of the process, Python and libraries included
    simpy_timeouts_per_s: tuple[float, ...]  #: the yardstick, before, between and after the repeats

    @property
    def requests_per_s(self) -> float:
        """Requests per second of wall-clock time."""
        return self.requests / self.wall_s

    @property
    def steps_per_s(self) -> float:
        """Engine steps per second of wall-clock time."""
        return self.steps / self.wall_s

    @property
    def tokens_per_s(self) -> float:
        """Output tokens per second of wall-clock time."""
        return self.tokens / self.wall_s

    @property
    def timeouts_per_request(self) -> float:
        """How many of SimPy's timeouts one request costs: the cost, with the machine's speed taken out."""
        return median(self.simpy_timeouts_per_s) * self.wall_s / self.requests


def timeouts_per_s(timeouts: int = YARDSTICK_TIMEOUTS) -> float:
    """How many plain timeouts SimPy processes in a second: one process that does nothing else."""

    def ticks(environment: simpy.Environment) -> Generator[simpy.Event, None, None]:
        for _ in range(timeouts):
            yield environment.timeout(1.0)

    environment = simpy.Environment()
    environment.process(ticks(environment))
    started_s = time.perf_counter()
    environment.run()
    return timeouts / (time.perf_counter() - started_s)


def measure(scenario: Scenario, *, repeat: int = 1, progress: Progress) -> Measurement:
    """Run and score a scenario `repeat` times in this process; time the fastest. The workload is drawn beforehand."""
    drawn = make_workload(scenario, streams(scenario.seed))
    yardstick = [timeouts_per_s(), timeouts_per_s()]
    simulate_s, score_s, record = _timed(scenario, drawn, progress=_part(progress, 0, repeat))
    steps, rows = int(record.steps["steps"].sum()), len(record.steps["steps"])
    tokens, simulated_s = int(record.requests["emitted_tokens"].sum()), record.end_s
    del record
    most_bytes = peak_bytes()
    yardstick += [timeouts_per_s(), timeouts_per_s()]
    for done in range(1, repeat):
        again = _timed(scenario, drawn, progress=_part(progress, done, repeat))
        simulate_s, score_s = min((simulate_s, score_s), again[:2], key=sum)
        del again
        yardstick += [timeouts_per_s(), timeouts_per_s()]
    return Measurement(
        requests=len(drawn),
        steps=steps,
        rows=rows,
        tokens=tokens,
        simulated_s=simulated_s,
        wall_s=simulate_s + score_s,
        simulate_s=simulate_s,
        score_s=score_s,
        peak_bytes=most_bytes,
        simpy_timeouts_per_s=tuple(yardstick),
    )


@dataclass(frozen=True, slots=True)
class StretchSpeed:
    """The same run in stretches and step by step."""

    stretches_s: float
    stepwise_s: float
    steps: int
    rows: int  #: of the run in stretches
    identical: bool

    @property
    def speedup(self) -> float:
        """How many times faster the stretches are."""
        return self.stepwise_s / self.stretches_s


def compare_stretches(scenario: Scenario, *, progress: Progress) -> StretchSpeed:
    """Run a scenario both ways in this process."""
    drawn = make_workload(scenario, streams(scenario.seed))
    stretches = _timed(scenario, drawn, progress=_part(progress, 0, 2))
    stepwise = _timed(scenario, drawn, stepwise=True, progress=_part(progress, 1, 2))
    steps = stretches[2].steps["steps"]
    return StretchSpeed(
        sum(stretches[:2]), sum(stepwise[:2]), int(steps.sum()), len(steps), same(stretches[2], stepwise[2])
    )


def _part(progress: Progress, part: int, parts: int) -> Progress:
    return lambda ended, requests: progress(part * requests + ended, parts * requests)


def _timed(
    scenario: Scenario, drawn: Workload, *, stepwise: bool = False, progress: Progress
) -> tuple[float, float, Record]:
    """Return seconds to simulate, assembling included, seconds to score, and the record."""
    gc.collect()
    started_s = time.perf_counter()
    parts = assemble(scenario, workload=drawn)
    record = parts.simulate(stepwise=stepwise, progress=progress)
    simulated_s = time.perf_counter()
    first_scheduled_s = record.requests["first_scheduled_s"]
    slo, user, window = parts.slo, parts.user, parts.window
    timelines = delivered(scenario, record)
    score(timelines, slo=slo, user=user, window=window, first_scheduled_s=first_scheduled_s, end_s=record.end_s)
    return simulated_s - started_s, time.perf_counter() - simulated_s, record


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage's maximum would include that of the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_own_process(task: Callable[..., T], *arguments: Any, progress: Progress, **options: Any) -> T:
    """Call a function in a fresh interpreter and return its result; `progress` hears how far it is."""
    counts = get_context("spawn").Array("q", [0, 0])
    with process_pool(1, _share, counts) as pool:
        future = pool.submit(_call, task, arguments, options)
        while not future.done():
            wait([future], timeout=LOOK_EVERY_S)
            ended, total = counts[:]
            if total:
                progress(ended, total)
        try:
            return future.result()
        except BrokenExecutor:
            raise LlmsimError("the process that was measured has died: was there too little memory?") from None


def _share(counts: Any) -> None:
    _shared.append(counts)


def _call(task: Callable[..., T], arguments: tuple[Any, ...], options: dict[str, Any]) -> T:
    def note(ended: int, total: int) -> None:
        _shared[0][:] = [ended, total]

    return task(*arguments, progress=note, **options)


#: in a process that `in_own_process` started: where to tell it how far we are
_shared: list[Any] = []
