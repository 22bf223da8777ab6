"""How long a decision takes that plans: schedulers timed call by call, by how many requests there are to plan for."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import numpy as np

from llmsim.experiment.assembly import Progress, assemble
from llmsim.scenario import load_scenario
from llmsim.scheduler import Around, Decision, InstanceView, Scheduler

#: scenario that declares SLOs, and a rate at which its instance fills up
SCENARIO, RATE_PER_S, REQUESTS = "related/tight_decode", 5.0, 500
SCHEDULERS = ("slos_serve", "chunked_prefill", "sglang", "vtc", "earliest_token_deadline")
#: requests that wait or run: from, up to
SIZES = ((1, 16), (16, 48), (48, 80))


@dataclass(frozen=True, slots=True)
class DecisionTimes:
    """Decisions of one scheduler with so many requests to look at."""

    scheduler: str
    requests: tuple[int, int]  #: from, up to
    decisions: int
    mean_s: float  #: CPU time
    p99_s: float


class _Timed(Around):
    """Notes how long each decision takes, and for how many requests."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self.taken: list[tuple[int, float]] = []

    def schedule(self, view: InstanceView) -> Decision:
        """Let the other scheduler decide."""
        requests, start_s = view.num_running + view.num_waiting, time.thread_time()
        decision = self.scheduler.schedule(view)
        self.taken.append((requests, time.thread_time() - start_s))
        return decision


def decisions(
    requests: int = REQUESTS, *, watch: Callable[[str], AbstractContextManager[Progress]]
) -> list[DecisionTimes]:
    """Run each scheduler, and sort its decisions by how many requests there were."""
    found = []
    for name in SCHEDULERS:
        changes = [f"scheduler={{name='{name}'}}", f"workload.requests={requests}"]
        assembly = assemble(load_scenario(SCENARIO, [*changes, f"workload.arrivals.rate_per_s={RATE_PER_S}"]))
        timed = _Timed(assembly.instances[0].scheduler)
        with watch(name) as progress:
            replace(assembly, instances=(replace(assembly.instances[0], scheduler=timed),)).simulate(progress=progress)
        number, taken_s = np.array(timed.taken).T
        for least, most in SIZES:
            mine = taken_s[(number >= least) & (number < most)]
            if len(mine):
                mean_s, p99_s = float(mine.mean()), float(np.percentile(mine, 99))
                found.append(DecisionTimes(name, (least, most), len(mine), mean_s, p99_s))
    return found
