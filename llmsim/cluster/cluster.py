"""A cluster: clients send requests, a router picks an instance, instances serve. `simulate` runs it to a Record."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.cluster.autoscaling import Autoscaler
from llmsim.cluster.clients import Clients
from llmsim.cluster.fleet import Fleet
from llmsim.cluster.path import RequestPath
from llmsim.cluster.users import Users
from llmsim.engine.clock import Clock
from llmsim.engine.instance import Instance
from llmsim.engine.recorder import Recorder
from llmsim.errors import PolicyError
from llmsim.record import Floats, Record
from llmsim.request import Outcome
from llmsim.workload.contract import Workload


@dataclass(eq=False)
class Cluster:
    """The parts of one run, wired together (build.py)."""

    workload: Workload
    attempts: Workload  #: its requests that arrive, each as often as its user may try
    users: Users
    clients: Clients
    path: RequestPath
    instances: Sequence[Instance]
    fleet: Fleet  #: the instances that arrivals are sent to
    autoscaler: Autoscaler | None
    clock: Clock
    recorder: Recorder
    queued_s: Floats  #: (attempts,) when each entered its engine's queue; NaN: not yet

    def run(self, until_s: float | None = None) -> Record:
        """Serve all requests, or those up to a time; return the record. To be called once."""
        end_s = inf if until_s is None else until_s
        with _without_garbage_collection():
            self.clock.run_until(end_s)
            for instance in self.instances:
                instance.advance_to(end_s)
        if until_s is not None:
            self._close(until_s)
        elif waiting := self.clients.arrived - self.path.ended:
            for instance in self.instances:
                for request in instance.states.waiting.values():
                    self.path.check_unchanged(request)
            policy = type(self.instances[0].loop.scheduler).__name__
            raise PolicyError(f"{policy}: {waiting} requests wait for ever, and no instance has anything to do")
        times = {"sent_s": self.clients.sent_s, "queued_s": self.queued_s, **self.path.entrance.columns()}
        columns = times | self._request_of_attempts() | self.attempts.told(len(self.attempts))
        quality = self.attempts.quality
        worth = {} if quality is None else {_worth(pool): quality.in_pool(pool) for pool in self.fleet.pools}
        record = self.recorder.finish(columns | worth)
        if quality is not None:
            self._keep_quality(record.requests)
        if self.autoscaler is None:
            return record
        return replace(record, instance_states=self.autoscaler.finish(record.end_s))

    def _request_of_attempts(self) -> dict[str, NDArray[np.int64]]:
        """Columns, by id, that say which request of the workload an attempt is at, and of which conversation."""
        users, sessions = self.users, self.workload.sessions
        if not users.wait_for_ends:
            return {}  # row i is request i
        request, attempt = np.divmod(np.arange(len(self.attempts)), users.attempts)
        columns = {"request": request, "attempt": attempt}
        if sessions is not None:
            columns |= {name: getattr(sessions, name)[request] for name in ("conversation", "turn", "turns")}
        return columns

    def _keep_quality(self, requests: dict[str, NDArray[Any]]) -> None:
        """Keep what each answer is worth, by the pool that gave it, 0 where there is none; no column for each pool."""
        worth = np.zeros(len(requests["instance"]))
        finished = requests["outcome"] == Outcome.FINISHED
        for pool, numbers in self.fleet.pools.items():
            mine = finished & np.isin(requests["instance"], numbers)
            worth[mine] = requests.pop(_worth(pool))[mine]
        requests["quality"] = worth

    def _close(self, until_s: float) -> None:
        """End the run: the requests that are still somewhere are unfinished."""
        never_sent = self.clients.close()
        never_admitted = self.path.entrance.close()
        for instance in self.instances:
            instance.stop(until_s)
        for instance in self.instances:
            instance.close(until_s)
        self.path.close(until_s, [*never_admitted, *never_sent])


def _worth(pool: str) -> str:
    """Name of the column with the worth of a pool's answers, while a record is made."""
    return f"quality in {pool}"


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A run makes no reference cycles, so looking for them is time lost (about 7 %)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
