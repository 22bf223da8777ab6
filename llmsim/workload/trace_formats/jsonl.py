"""Plain JSON lines."""

from __future__ import annotations

from llmsim.workload.trace_format import TraceFormat


class Jsonl(TraceFormat):
    """Three keys, arrivals in seconds."""

    lines = "jsonl"
    arrival, prompt, output = "arrival_s", "prompt_tokens", "output_tokens"
