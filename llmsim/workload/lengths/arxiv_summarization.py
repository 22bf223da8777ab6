"""Lengths of summaries of arXiv's papers: long prompts, short outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmsim.workload.length_source import RealLengths


@dataclass(frozen=True)
class ArxivSummarization(RealLengths):
    """Drawn from the quantiles of quantiles/arxiv_summarization.json, which tells origin and licence."""

    table: ClassVar[str] = "arxiv_summarization"
