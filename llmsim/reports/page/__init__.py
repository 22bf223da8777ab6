"""A folder of results as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

from pathlib import Path

from llmsim.errors import InputError
from llmsim.experiment import SCENARIO_FILE
from llmsim.reports.page.run_page import run_page
from llmsim.reports.page.sweep_page import sweep_page
from llmsim.studies.sweep import SWEEP_FILE

__all__ = ["page"]


def page(folder: Path) -> str:
    """Return the page of a folder that `llmsim run` or `llmsim sweep` has written; the same folder, the same bytes.

    Raises InputError for any other place, and for a result that cannot be read.
    """
    if (folder / SWEEP_FILE).is_file():
        return sweep_page(folder)
    if (folder / SCENARIO_FILE).is_file():
        return run_page(folder)
    what = "no such folder" if not folder.exists() else "holds no result"
    raise InputError(f"{folder}: {what}; expected a folder that llmsim run or llmsim sweep has written")
