"""The first side of a comparison from runs that are stored: made once, and held against whatever comes later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.studies.compare.side_runs import Run, run_of
from llmsim.studies.compare.sides import Side


def read_baseline(folders: Sequence[Path], *, forms: bool = False) -> tuple[Side, tuple[Run, ...]]:
    """Read results of `llmsim run` as the first side, a run a folder: one scenario with different seeds, in order.

    Their P99s are those that they were stored with: withheld unless the run was steady, or forced; with `forms` they
    are judged by the rules of other papers, too. InputError for what is no result, is not as llmsim wrote it, or is of
    another scenario than the first.
    """
    runs: dict[int, Run] = {}
    for folder in folders:
        run = run_of(_read(folder), forms=forms)
        seed, one = run.scenario.seed, next(iter(runs.values()), run).scenario
        if run.scenario.model_copy(update={"seed": one.seed}) != one:
            raise InputError(f"--baseline {folder}: of another scenario than {folders[0]}; expected its other seeds")
        if seed in runs:
            raise InputError(f"--baseline {folder}: a second run of seed {seed}; expected each seed once")
        runs[seed] = run
    first = runs[min(runs)]
    return Side("A", f"baseline {folders[0]}", first.scenario), tuple(runs[seed] for seed in sorted(runs))


def _read(folder: Path) -> experiment.Result:
    scenario, record = experiment.read_scenario(folder), experiment.read_record(folder)
    return experiment.Result(scenario, record, (), experiment.read_score(folder))
