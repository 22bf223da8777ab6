"""The runs that figures need: each is made once, on any executor, and kept in a folder where there is one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llmsim import experiment
from llmsim.errors import Interrupted
from llmsim.figures import numbers
from llmsim.figures.numbers import measure
from llmsim.figures.plan import Plan, Sweep
from llmsim.scenario import Scenario, load_scenario
from llmsim.studies.executors import Executors, in_this_process
from llmsim.studies.kept_runs import Damaged, KeptRuns
from llmsim.studies.sweep.point_keys import key_of

#: what makes a scenario give up on requests that miss their SLO
ABANDON = ("abandonment.policy=missed",)
#: name -> value, of one run
Numbers = dict[str, float]


class Run(NamedTuple):
    """One run of a plan."""

    plan: Plan
    rate_per_s: float
    seed: int

    def scenario(self, *changes: str) -> Scenario:
        """What it simulates, with further changes."""
        return load_scenario(self.plan.scenario, [*self.plan.overrides(self.rate_per_s, self.seed), *changes])

    def measured(self) -> Numbers:
        """Make it."""
        plan = self.plan
        if not plan.abandons:
            return measure(self.scenario(), delayed=plan.delayed, forms=plan.forms)
        end_s = experiment.run(self.scenario()).record.end_s
        return measure(self.scenario(*ABANDON), delayed=False, end_s=end_s)

    @property
    def key(self) -> str:
        """Hash of all that its numbers depend on."""
        plan = self.plan
        scenarios = [key_of(self.scenario(*changes)) for changes in ((), ABANDON)[: 1 + plan.abandons]]
        parts = (*scenarios, str(plan.delayed), str(plan.forms), _code())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def run_plans(
    plans: Iterable[Plan],
    *,
    executors: Executors = in_this_process,
    progress: Callable[[int, int], None] | None = None,
    kept: KeptRuns | None = None,
) -> dict[Plan, Sweep]:
    """Run every plan once, on any executor; the result does not depend on which.

    Runs that are `kept` are not made again, and those that are made are kept at once: what was interrupted goes on.
    """
    unique = list(dict.fromkeys(plans))
    runs = [
        Run(plan, rate, seed) for plan in unique for rate in plan.rates_per_s.tolist() for seed in range(plan.seeds)
    ]
    keys = [""] * len(runs) if kept is None else [run.key for run in runs]
    rows = [_find(kept, key) for key in keys]
    missing = [place for place, row in enumerate(rows) if row is None]
    try:
        with executors() as pool:
            made = pool.map(Run.measured, [runs[place] for place in missing], chunksize=4)
            for count, (place, row) in enumerate(zip(missing, made, strict=True), len(runs) - len(missing) + 1):
                rows[place] = row
                if kept is not None:
                    kept.keep(keys[place], {"numbers": {n: None if math.isnan(x) else x for n, x in row.items()}})
                if progress is not None:
                    progress(count, len(runs))
    except KeyboardInterrupt:
        if kept is None:
            raise
        raise Interrupted(f"interrupted; runs are kept in {kept.folder}, the same command goes on from there") from None
    return _by_plan(unique, [row for row in rows if row is not None])


def _find(kept: KeptRuns | None, key: str) -> Numbers | None:
    """The numbers of a run that is kept; None where it is to be made."""
    try:
        found = None if kept is None else kept.find(key)
        return None if found is None else {n: math.nan if x is None else float(x) for n, x in found["numbers"].items()}
    except (Damaged, KeyError, TypeError, ValueError, AttributeError):  # it is made anew
        return None


def _by_plan(plans: Sequence[Plan], rows: Sequence[Numbers]) -> dict[Plan, Sweep]:
    sweeps, at = {}, 0
    for plan in plans:
        shape = (len(plan.loads), plan.seeds)
        part = rows[at : at + shape[0] * shape[1]]
        at += len(part)
        sweeps[plan] = Sweep(plan, {name: np.array([row[name] for row in part]).reshape(shape) for name in part[0]})
    return sweeps


@lru_cache(maxsize=1)
def _code() -> str:
    """Hash the code that makes numbers of a run: this, and `numbers`, which the keys of sweeps do not count."""
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in (__file__, numbers.__file__))).hexdigest()
