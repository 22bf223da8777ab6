"""Keep a report: the numbers of every point."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from llmsim.experiment.result_folder import write_json
from llmsim.experiment.seal import identity, question, seal
from llmsim.scenario import Scenario
from llmsim.studies.validation.case_report import Report

#: the file whose presence makes a folder one of ours
REPORT_FILE = "validation.json"


def question_of(
    measured: str | Path, *, case: str | None = None, scenario: Scenario | None = None, **assumed: object
) -> str:
    """What a comparison answers, as a checksum: a case by its data, or a scenario by a measured result."""
    predicted = None if scenario is None else scenario.model_dump(mode="json")
    of = {name: str(value) for name, value in assumed.items()}
    return question(validate=identity(measured), case=case, scenario=predicted, **of)


def write(report: Report, folder: Path, of: str) -> None:
    """Write the report and every point of it into an existing folder, sealed as the answer to a question."""
    points = [asdict(point) | {"error_percent": point.error_percent} for point in report.points]
    write_json(folder / REPORT_FILE, report.to_dict() | {"points": points})
    seal(folder, of)
