"""A folder of results as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from llmsim.errors import InputError
from llmsim.experiment import SCENARIO_FILE
from llmsim.reports.page.audit_page import audit_page
from llmsim.reports.page.compare_page import compare_page
from llmsim.reports.page.html import BEGINS
from llmsim.reports.page.plan_page import plan_page
from llmsim.reports.page.run_page import run_page
from llmsim.reports.page.sweep_page import sweep_page
from llmsim.reports.page.validation_page import validation_page
from llmsim.studies.audit_folder import AUDIT_FILE
from llmsim.studies.compare import COMPARISON_FILE
from llmsim.studies.plan import PLAN_FILE
from llmsim.studies.sweep import SWEEP_FILE
from llmsim.studies.validation.report_folder import REPORT_FILE

__all__ = ["BEGINS", "COMMANDS", "page"]

#: the file whose presence makes a folder a result -> its page
PAGES: Mapping[str, Callable[[Path], str]] = {
    SWEEP_FILE: sweep_page,
    PLAN_FILE: plan_page,
    COMPARISON_FILE: compare_page,
    AUDIT_FILE: audit_page,
    REPORT_FILE: validation_page,
    SCENARIO_FILE: run_page,
}
COMMANDS = "llmsim run, sweep, plan, compare, audit --out or validate --out"


def page(folder: Path) -> str:
    """Return the page of a folder that a command has written; the same folder, the same bytes.

    Raises InputError for any other place, and for a result that cannot be read.
    """
    for mark, page_of in PAGES.items():
        if (folder / mark).is_file():
            return page_of(folder)
    what = "no such folder" if not folder.exists() else "holds no result"
    raise InputError(f"{folder}: {what}; expected a folder that {COMMANDS} has written")
