"""Predicted against measured: what was fitted, on which run, and which points are missed most.

One file in cases/ is one case; the file's name, with dashes, is the case's name.
"""

from __future__ import annotations

from llmsim.studies.validation.case_report import Check, Constant, Point, Report
from llmsim.studies.validation.run_case import case_names, validate

__all__ = ["Check", "Constant", "Point", "Report", "case_names", "validate"]
