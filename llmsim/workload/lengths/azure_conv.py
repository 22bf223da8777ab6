"""Lengths of Azure's LLM inference trace, conversations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmsim.workload.length_source import RealLengths


@dataclass(frozen=True)
class AzureConv(RealLengths):
    """Drawn from the quantiles of quantiles/azure_conv.json, which tells origin and licence."""

    table: ClassVar[str] = "azure_conv"
