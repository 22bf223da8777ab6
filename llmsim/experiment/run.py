"""Run one scenario and score what happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmsim.cluster import simulate
from llmsim.experiment.assemble import (
    make_instances,
    make_router,
    make_scheduler,
    make_slo,
    make_user,
    make_window,
    make_workload,
)
from llmsim.metrics.score import score
from llmsim.record import Record
from llmsim.scenario import Scenario
from llmsim.scheduler import Scheduler
from llmsim.workload.streams import streams

#: called now and then with the number of requests that have ended, and the number of all
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Result:
    """A scenario, what happened, and what that is worth."""

    scenario: Scenario
    record: Record
    num_gpu_blocks: int  #: KV blocks of one instance
    score: dict[str, Any]  #: JSON values; `wall_s` is the only one that differs between two runs


def run(
    scenario: Scenario,
    *,
    scheduler: type[Scheduler] | None = None,
    stepwise: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Run a scenario; `scheduler` takes the place of the one it names, with the options it gives.

    `stepwise` takes every step on its own instead of in stretches: slower, with identical results. Raises
    InputError for what the scenario asks and cannot have.
    """
    started_s = time.perf_counter()
    policy = make_scheduler(scenario, scheduler)
    router = make_router(scenario)
    slo, user, window = make_slo(scenario), make_user(scenario), make_window(scenario)
    instances = make_instances(scenario, policy)
    blocks = instances[0].num_gpu_blocks
    draws = streams(scenario.seed)
    workload = make_workload(scenario, draws)
    record = simulate(
        workload,
        instances,
        router,
        draws.routing,
        stretches=not stepwise,
        until_s=scenario.until_s,
        on_progress=None if progress is None else lambda ended: progress(ended, len(workload)),
    )
    values = score(
        record.timelines(),
        slo=slo,
        user=user,
        window=window,
        first_scheduled_s=record.requests["first_scheduled_s"],
        end_s=record.end_s,
    )
    wall_s = time.perf_counter() - started_s
    values |= {"num_gpu_blocks": blocks, "simulated_s": record.end_s, "wall_s": wall_s}
    return Result(scenario, record, blocks, values)
