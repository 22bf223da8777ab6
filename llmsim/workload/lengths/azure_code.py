"""Lengths of Azure's LLM inference trace, code completion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmsim.workload.length_source import RealLengths


@dataclass(frozen=True)
class AzureCode(RealLengths):
    """Drawn from the quantiles of quantiles/azure_code.json, which tells origin and licence."""

    table: ClassVar[str] = "azure_code"
