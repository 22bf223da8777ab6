"""Predicted against measured: `llmsim.validate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llmsim.errors import InputError
from llmsim.experiment.seal import folder_for
from llmsim.library.bounds import run_of_file
from llmsim.library.convention import one_process
from llmsim.library.shown import Shown, kept
from llmsim.scenario import load_scenario
from llmsim.studies import validation
from llmsim.studies.validation import Report
from llmsim.studies.validation.report_folder import REPORT_FILE, question_of, write
from llmsim.studies.validation.result_comparison import compare_file
from llmsim.studies.validation.sends import Assumed


@dataclass(frozen=True, eq=False)
class ValidationResult(Shown):
    """Predicted against measured."""

    report: Report
    asked: str  #: checksum of what it answers

    @property
    def passed(self) -> bool:
        """Whether all targets are met."""
        return self.report.passed

    @property
    def score(self) -> dict[str, Any]:
        """What ``llmsim validate --json`` prints."""
        return self.report.to_dict()

    @property
    def table(self) -> pd.DataFrame:
        """One row for each comparison."""
        return pd.DataFrame(list(self.report.rows))

    def show(self) -> None:
        """Print the table of ``llmsim validate``."""
        from llmsim.reports.tables.validation_tables import show_validation

        show_validation(self.report, None)

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write validation.json and a picture."""
        return kept(
            folder,
            REPORT_FILE,
            lambda scratch: keep_validation(self.report, scratch, self.asked),
            self.asked,
            force=force,
        )


def validate(
    scenario: str | Path,
    overrides: Sequence[str] = (),
    *,
    measured: str | Path,
    run: int | None = None,
    max_concurrency: int | None = None,
    assume_sends: bool = False,
    jobs: int = 1,
    out: str | Path | None = None,
    force: bool = False,
) -> ValidationResult:
    """Compare what a scenario predicts with a `measured` result, as ``llmsim validate RESULT --scenario`` does.

    For a case that llmsim ships (``llmsim validate CASE --data DIR``) give its name, and the folder as `measured`.
    InputError, before anything runs, for an `out` that holds another comparison, unless by `force`.
    """
    one_process("validate", jobs, "its simulations go one after another")
    folder = None if out is None else Path(out)
    if str(scenario) in validation.case_names():
        if overrides:
            raise InputError(f"{overrides[0]}: a case says itself what it assumes")
        asked = question_of(measured, case=str(scenario))
        folder_for(folder, None, asked, REPORT_FILE, force=force)
        found = validation.validate(str(scenario), Path(measured))
    else:
        chosen = run_of_file(None if run is None else str(run))
        assumed, described = Assumed(max_concurrency, assume_sends), load_scenario(scenario, overrides)
        asked = question_of(measured, scenario=described, run=chosen, assumed=assumed)
        folder_for(folder, None, asked, REPORT_FILE, force=force)
        (found,) = compare_file(Path(measured), described, chosen, assumed)
    result = ValidationResult(found, asked)
    if folder is not None:
        result.save(folder, force=force)
    return result


def keep_validation(report: Report, scratch: Path, asked: str) -> None:
    """Write what ``llmsim validate --out`` writes into an existing folder."""
    from llmsim.reports import plots

    write(report, scratch, asked)
    plots.save(plots.validation_figure(report), scratch / "validation.png")
