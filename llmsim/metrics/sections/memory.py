"""KV memory of an instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from llmsim.metrics.kpi import Kpi, Section


@dataclass(frozen=True, slots=True, eq=False)
class Memory(Section):
    """KV blocks of every instance, where all are alike."""

    compared: ClassVar[bool] = False

    num_gpu_blocks: Annotated[int, Kpi("KV blocks of an instance", kind="basis")]
