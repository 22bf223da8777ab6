"""Least counter first: the virtual token counter without its lift, the baseline of arXiv 2401.00588 (LCF).

A tenant that was away keeps the low counter that it left with, and has the machine to itself until it has caught up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmsim.fair_queue import Charges
from llmsim.schedulers.vtc import Vtc


@dataclass(frozen=True)
class LeastCounterFirst(Vtc):
    """The tenant that was served least since the run began first."""

    def _charges(self) -> Charges:
        return replace(super()._charges(), lift=False)
