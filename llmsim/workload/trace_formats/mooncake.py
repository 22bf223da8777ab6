"""Mooncake's traces, with a number for each block of a prompt, and those of Dynamo and AIPerf, which are alike."""

from __future__ import annotations

from llmsim.workload.trace_format import TraceFormat


class Mooncake(TraceFormat):
    """JSON lines; arrivals in milliseconds, and hash_ids if there, one for each block of 512 tokens.

    AIPerf and Dynamo add conversations: a row with `session_id` and `delay` comes that long after the end of the row
    before with the same session.
    """

    lines = "jsonl"
    arrival, prompt, output = "timestamp", "input_length", "output_length"
    clock = "ms"
    hashes, hashed_tokens = "hash_ids", 512
    session, delay = "session_id", "delay"
