"""What a file of measured results says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.metrics.kpi import Section


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkFile(Section):
    """What the file lacks and what was assumed of it, and the numbers that its tool printed; no KPIs of a run."""

    compared: ClassVar[bool] = False

    notes: Sequence[str]
    #: KPI -> `tool`: as printed, `here`: as scored, and where these are not the same, `why`; None: not comparable
    printed: Mapping[str, Mapping[str, Any]] | None = None
