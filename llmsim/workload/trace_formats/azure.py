"""Azure's LLM inference traces."""

from __future__ import annotations

from llmsim.workload.trace_format import TraceFormat


class Azure(TraceFormat):
    """CSV; arrivals are dates with times, ISO 8601."""

    lines = "csv"
    arrival, prompt, output = "TIMESTAMP", "ContextTokens", "GeneratedTokens"
    clock = "date"
