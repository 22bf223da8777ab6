"""What a file of measured results says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from llmsim.metrics.kpi import Part, Section


@dataclass(frozen=True, slots=True, eq=False)
class Printed(Part):
    """A number that a benchmark's tool printed, beside that of the score."""

    tool: float
    here: float | None  #: None: not comparable
    why: str | None = None  #: they differ; None: they are the same


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkFile(Section):
    """What the file lacks and what was assumed of it, and the numbers that its tool printed; no KPIs of a run."""

    compared: ClassVar[bool] = False

    notes: Sequence[str]
    printed: Mapping[str, Printed] | None = None  #: by KPI; None: over other requests than those that count here
