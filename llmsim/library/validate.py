"""Predicted against measured: `llmsim.validate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llmsim.errors import InputError
from llmsim.library.bounds import run_of_file
from llmsim.library.convention import one_process
from llmsim.library.shown import Shown, kept
from llmsim.scenario import load_scenario
from llmsim.studies import validation
from llmsim.studies.validation import Report
from llmsim.studies.validation.report_folder import REPORT_FILE, write
from llmsim.studies.validation.result_comparison import compare_file
from llmsim.studies.validation.sends import Assumed


@dataclass(frozen=True, eq=False)
class ValidationResult(Shown):
    """Predicted against measured."""

    report: Report

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

    def save(self, folder: str | Path) -> Path:
        """Write validation.json and a picture."""
        return kept(folder, REPORT_FILE, lambda scratch: keep_validation(self.report, scratch))


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
) -> ValidationResult:
    """Compare what a scenario predicts with a `measured` result, as ``llmsim validate RESULT --scenario`` does.

    For a case that llmsim ships (``llmsim validate CASE --data DIR``) give its name, and the folder as `measured`.
    """
    one_process("validate", jobs, "its simulations go one after another")
    if str(scenario) in validation.case_names():
        if overrides:
            raise InputError(f"{overrides[0]}: a case says itself what it assumes")
        found = validation.validate(str(scenario), Path(measured))
    else:
        chosen = run_of_file(None if run is None else str(run))
        assumed = Assumed(max_concurrency, assume_sends)
        (found,) = compare_file(Path(measured), load_scenario(scenario, overrides), chosen, assumed)
    result = ValidationResult(found)
    if out is not None:
        result.save(out)
    return result


def keep_validation(report: Report, scratch: Path) -> None:
    """Write what ``llmsim validate --out`` writes into an existing folder."""
    from llmsim.reports import plots

    write(report, scratch)
    plots.save(plots.validation_figure(report), scratch / "validation.png")
