"""Plain CSV."""

from __future__ import annotations

from llmsim.workload.trace_format import TraceFormat


class Csv(TraceFormat):
    """A header and three columns, arrivals in seconds."""

    lines = "csv"
    arrival, prompt, output = "arrival_s", "prompt_tokens", "output_tokens"
