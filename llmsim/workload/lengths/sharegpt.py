"""Lengths of ShareGPT's conversations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmsim.workload.length_source import RealLengths


@dataclass(frozen=True)
class ShareGpt(RealLengths):
    """Drawn from the quantiles of quantiles/sharegpt.json, which tells origin and licence."""

    table: ClassVar[str] = "sharegpt"
