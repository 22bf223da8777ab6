"""The virtual token counter with predicted lengths (arXiv 2401.00588, section 4): charged in advance, then corrected.

A request's predicted output is charged with its prompt, so that a tenant is not let in again and again before what it
has let in has been counted; as soon as more than that is emitted, or the request ends, what was emitted counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmsim.fair_queue import Charges
from llmsim.schedulers.vtc import Vtc


@dataclass(frozen=True)
class VtcPredicted(Vtc):
    """The least served tenant first, by what its requests will probably cost."""

    needs_prediction = True

    def _charges(self) -> Charges:
        return replace(super()._charges(), predicted=True)
