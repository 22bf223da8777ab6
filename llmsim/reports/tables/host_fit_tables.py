"""What `llmsim profile from-bench` found, as lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmsim.reports.format import percent_text
from llmsim.studies.validation import Report
from llmsim.studies.validation.calibration import LEVEL, Calibration
from llmsim.studies.validation.result_comparison import LEAST_LOAD_RATIO
from llmsim.studies.validation.stage_fit import StageCalibration

#: how often bounds held constants that were known (by hand: tests/oracles/test_host_intervals.py)
OF_REQUESTS, OF_STAGES = "25 of 30", "66 of 72"
ROLES = {"fitted": "errors of the means that were fitted, which prove nothing", "predicted": "of what was not fitted"}


def show_host_fit(out: Path, found: Calibration, fitted: Sequence[Report], in_flight: tuple[float, float]) -> None:
    """Print the host's times with their intervals, and the errors that are left on the runs that were fitted.

    `in_flight` are the requests in flight at low and at high load.
    """
    _show_constants(out, found, in_flight, "of resampled runs", OF_REQUESTS)
    print("  errors on the run that was fitted, which prove nothing:")
    for one in fitted:
        for check in one.checks:
            print(f"  {check.name}: {percent_text(check.value)} %")
    print("  what is left, by requests in flight:")
    for left in found.residuals:
        ttft, tpot = percent_text(left.ttft_percent), percent_text(left.tpot_percent)
        print(f"  {left.in_flight:.0f}: TTFT {ttft} %, TPOT {tpot} %")


def show_stage_fit(out: Path, fit: StageCalibration) -> None:
    """Print the host's times with their intervals, and how far each statistic of the stages is off."""
    _show_constants(out, fit.found, fit.in_flight, "with other requests drawn", OF_STAGES)
    for role, heading in ROLES.items():
        points = [point for point in fit.points if point.role == role]
        if points:
            print(f"  {heading}:")
        for point in points:
            print(f"  {point.label}: {point.group} {percent_text(point.error_percent)} %")


def _show_constants(out: Path, found: Calibration, in_flight: tuple[float, float], of_what: str, held: str) -> None:
    low, high = in_flight
    print(f"{out}:")
    for name, (least, most) in found.intervals.items():
        print(f"  {name} = {getattr(found.host, name):.3g} s ({LEVEL} % {of_what}: {least:.3g} to {most:.3g})")
    print(f"  such bounds held {held} constants that were known, where {LEVEL} % would be meant")
    if high < LEAST_LOAD_RATIO * low:
        print(f"  step_s and sequence_s are not told apart: {low:.0f} to {high:.0f} requests in flight all the time")
