"""A comparison: `llmsim.compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from llmsim.experiment.own_files import OwnFiles
from llmsim.experiment.seal import folder_for
from llmsim.library.shown import Shown, kept
from llmsim.studies import compare as comparing
from llmsim.studies.compare import Comparison
from llmsim.studies.compare.comparison_folder import question_of
from llmsim.studies.kept_runs import going_on
from llmsim.studies.processes import process_pool


@dataclass(frozen=True, eq=False)
class CompareResult(Shown):
    """A comparison of two or more sides."""

    comparison: Comparison

    @property
    def score(self) -> dict[str, Any]:
        """What ``llmsim compare --json`` prints."""
        return comparing.as_json(self.comparison)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each metric and side: the difference from the first side."""
        return pd.DataFrame(comparing.difference_rows(self.comparison))

    @property
    def failed(self) -> bool:
        """Whether a condition of `fail_if` holds."""
        return self.comparison.failed

    def show(self) -> None:
        """Print the tables of ``llmsim compare``."""
        from llmsim.reports.tables.compare_tables import show_comparison

        show_comparison(self.comparison, None)

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write tables and pictures; `force`: in place of another comparison's, too."""
        of = question_of([side for side, _ in self.comparison.sides])
        write = partial(keep_comparison, self.comparison)
        return kept(folder, comparing.COMPARISON_FILE, write, of, force=force)


def compare(
    scenario: str | Path | Sequence[str | Path],
    overrides: Sequence[str] = (),
    *,
    schedulers: Sequence[str] = (),
    latency_file: Path | None = None,
    seeds: int = 1,
    fail_if: Sequence[str] = (),
    allow: Sequence[str] = (),
    baseline: Sequence[str | Path] = (),
    forms: bool = False,
    jobs: int = 1,
    decision_limit_s: float | None = None,
    out: str | Path | None = None,
    force: bool = False,
) -> CompareResult:
    """Run scenarios, or one under several `schedulers`, on the same requests, as ``llmsim compare`` does.

    `baseline` are folders of ``llmsim run``, a seed each, in place of the first side. `forms` adds what other
    papers measure, as ``--all`` and conditions on them do. A scheduler that takes longer
    than `decision_limit_s` to decide is stopped. InputError, before anything runs, for an `out` that holds another
    comparison, unless by `force`.
    """
    paths = [scenario] if isinstance(scenario, str | Path) else list(scenario)
    conditions = [comparing.parse_condition(text) for text in fail_if]
    files = OwnFiles(latency=latency_file, decision_limit_s=decision_limit_s)
    forms = forms or comparing.on_forms(conditions)
    stored_in = [Path(one) for one in baseline]
    first, stored = comparing.read_baseline(stored_in, forms=forms) if baseline else (None, ())
    sides = comparing.read_sides(paths, schedulers, overrides, allow, files, first)
    if out is not None:
        folder_for(Path(out), None, question_of(sides), comparing.COMPARISON_FILE, force=force)
    jobs = min(jobs, max(seeds, len(stored)) * len(sides))
    executors = None if jobs == 1 else partial(process_pool, jobs)
    with going_on(None if out is None else Path(out)) as kept:
        done = comparing.compare(
            sides, seeds=seeds, conditions=conditions, executors=executors, kept=kept, baseline=stored, forms=forms
        )
        result = CompareResult(done)
        if out is not None:
            result.save(out, force=force)
    return result


def keep_comparison(
    comparison: Comparison, scratch: Path, *, force: bool = False, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write what ``llmsim compare --out`` writes into an existing folder; return the pictures."""
    from llmsim.reports.plots.comparison_plots import draw_comparison

    comparing.write(comparison, scratch, force=force)
    return draw_comparison(comparison, scratch, force=force, formats=formats)
