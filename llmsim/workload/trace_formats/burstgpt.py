"""Traces of BurstGPT (Wang et al., arXiv 2401.17644), github.com/HPMLL/BurstGPT."""

from __future__ import annotations

from llmsim.workload.trace_format import TraceFormat


class BurstGpt(TraceFormat):
    """CSV; arrivals in seconds; failed requests have 0 response tokens."""

    lines = "csv"
    arrival, prompt, output = "Timestamp", "Request tokens", "Response tokens"
