"""Traces of the simulator of Splitwise, github.com/Mutinifni/splitwise-sim."""

from __future__ import annotations

from llmsim.workload.trace_format import TraceFormat


class Splitwise(TraceFormat):
    """CSV; arrivals in seconds."""

    lines = "csv"
    arrival, prompt, output = "arrival_timestamp", "prompt_size", "token_size"
