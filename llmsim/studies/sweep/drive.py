"""Have every point run, whatever happens to the processes that run them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass, field

from llmsim.errors import LlmsimError
from llmsim.experiment.own_files import NO_FILES, OwnFiles
from llmsim.studies.executors import Executors
from llmsim.studies.processes import uninterrupted
from llmsim.studies.sweep.point_run import PointResult, run_task, task_of
from llmsim.studies.sweep.sweep_definition import Point

#: so often may a point's worker be lost before the point is given up
MOST_LOSSES = 3
LOST_REASON = f"its worker process died {MOST_LOSSES} times: out of memory, or killed"
#: an executor that lost a worker says so to all that wait for it within this time
SETTLES_WITHIN_S = 5.0

#: told of each point as its result comes
OnDone = Callable[[Point, PointResult], None]


@dataclass(frozen=True)
class Failure:
    """A point that could not be run, and why, in a line."""

    point: Point
    reason: str


@dataclass
class Drive:
    """Points on their way through an executor.

    When a worker dies, a process pool is lost with all that it had in hand. Those points are then run one by one, so
    that a point that kills its worker is told from those that were there by accident.
    """

    executors: Executors
    in_flight: int
    on_done: OnDone
    files: OwnFiles = NO_FILES
    failures: list[Failure] = field(default_factory=list)
    _waiting: deque[Point] = field(default_factory=deque)
    _suspects: deque[Point] = field(default_factory=deque)
    _losses: Counter[str] = field(default_factory=Counter)

    def run(self, points: Iterable[Point]) -> list[Failure]:
        """Run the points in about this order; return those that failed, in the order of the points."""
        points = list(points)
        self._waiting.extend(points)
        while self._waiting or self._suspects:
            with self.executors() as executor:
                self._until_lost(executor)
        order = {point.key: i for i, point in enumerate(points)}
        return sorted(self.failures, key=lambda failure: order[failure.point.key])

    def _until_lost(self, executor: Executor) -> None:
        """Run until all is done, or the executor's workers are lost."""
        running: dict[Future[PointResult], Point] = {}
        while running or self._waiting or self._suspects:
            lost = not self._submit(executor, running)
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                lost |= not self._take(future, running.pop(future))
            if lost:
                wait(running, timeout=SETTLES_WITHIN_S)
                for future, point in running.items():
                    if future.done():
                        self._take(future, point)
                    else:
                        self._blame(point)
                return

    def _submit(self, executor: Executor, running: dict[Future[PointResult], Point]) -> bool:
        """Hand out as many points as may be in hand at once; False if the executor takes no more."""
        queue = self._suspects or self._waiting
        most = 1 if self._suspects else self.in_flight
        while queue and len(running) < most:
            with uninterrupted():  # pydantic takes an interrupt for a failure to serialise, and goes on
                task = task_of(queue[0], self.files)
            try:
                running[executor.submit(run_task, task)] = queue[0]
            except (BrokenExecutor, CancelledError):
                if not running:  # blame one of them, or an executor that never works would be asked for ever
                    self._blame(queue.popleft())
                return False
            queue.popleft()
        return True

    def _take(self, future: Future[PointResult], point: Point) -> bool:
        """Take a result in; False if the worker was lost instead."""
        try:
            result = future.result()
        except (BrokenExecutor, CancelledError):
            self._blame(point)
            return False
        except LlmsimError as error:
            self.failures.append(Failure(point, str(error)))
        except MemoryError:
            self.failures.append(Failure(point, "out of memory"))
        except Exception as error:
            self.failures.append(Failure(point, " ".join(f"{type(error).__name__}: {error}".split())))
        else:
            with uninterrupted():
                self.on_done(point, result)
        return True

    def _blame(self, point: Point) -> None:
        self._losses[point.key] += 1
        if self._losses[point.key] >= MOST_LOSSES:
            self.failures.append(Failure(point, LOST_REASON))
        else:
            self._suspects.append(point)
