"""Traces of the simulator Vidur, github.com/microsoft/vidur."""

from __future__ import annotations

from llmsim.workload.trace_format import TraceFormat


class Vidur(TraceFormat):
    """CSV; arrivals in seconds."""

    lines = "csv"
    arrival, prompt, output = "arrived_at", "num_prefill_tokens", "num_decode_tokens"
