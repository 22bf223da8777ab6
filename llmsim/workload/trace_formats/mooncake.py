"""Mooncake's traces, with a number for each block of a prompt."""

from __future__ import annotations

from llmsim.workload.trace_format import TraceFormat


class Mooncake(TraceFormat):
    """JSON lines; arrivals in milliseconds, and hash_ids if there, one for each block of 512 tokens."""

    lines = "jsonl"
    arrival, prompt, output = "timestamp", "input_length", "output_length"
    clock = "ms"
    hashes, hashed_tokens = "hash_ids", 512
