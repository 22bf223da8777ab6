"""Keep a report: the numbers of every point."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from llmsim.experiment.result_folder import write_json
from llmsim.experiment.seal import question, seal
from llmsim.studies.validation.case_report import Report

#: the file whose presence makes a folder one of ours
REPORT_FILE = "validation.json"


def write(report: Report, folder: Path) -> None:
    """Write the report and every point of it into an existing folder, sealed."""
    points = [asdict(point) | {"error_percent": point.error_percent} for point in report.points]
    write_json(folder / REPORT_FILE, report.to_dict() | {"points": points})
    seal(folder, question(case=report.case, about=report.about))
