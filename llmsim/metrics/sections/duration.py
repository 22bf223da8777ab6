"""How long a run lasted, and how long simulating it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from llmsim.metrics.kpi import Kpi, Section


@dataclass(frozen=True, slots=True, eq=False)
class Duration(Section):
    """Simulated time, and wall-clock time, the only number that differs between two equal runs."""

    compared: ClassVar[bool] = False

    simulated_s: Annotated[float, Kpi("simulated time", "s", "basis")]
    wall_s: Annotated[float, Kpi("wall-clock time", "s", "basis")]
