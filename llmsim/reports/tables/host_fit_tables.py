"""What `llmsim profile from-bench` found, as lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmsim.reports.format import percent_text
from llmsim.studies.validation import Report
from llmsim.studies.validation.calibration import LEVEL, Calibration
from llmsim.studies.validation.result_comparison import LEAST_LOAD_RATIO


def show_host_fit(out: Path, found: Calibration, fitted: Sequence[Report], in_flight: tuple[float, float]) -> None:
    """Print the host's times with their intervals, and the errors that are left on the runs that were fitted.

    `in_flight` are the requests in flight at low and at high load.
    """
    low, high = in_flight
    print(f"{out}:")
    for name, (least, most) in found.intervals.items():
        print(f"  {name} = {getattr(found.host, name):.3g} s ({LEVEL} % of resampled runs: {least:.3g} to {most:.3g})")
    if high < LEAST_LOAD_RATIO * low:
        print(f"  step_s and sequence_s are not told apart: {low:.0f} to {high:.0f} requests in flight all the time")
    print("  errors on the run that was fitted, which prove nothing:")
    for one in fitted:
        for check in one.checks:
            print(f"  {check.name}: {percent_text(check.value)} %")
    print("  what is left, by requests in flight:")
    for left in found.residuals:
        ttft, tpot = percent_text(left.ttft_percent), percent_text(left.tpot_percent)
        print(f"  {left.in_flight:.0f}: TTFT {ttft} %, TPOT {tpot} %")
