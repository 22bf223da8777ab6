"""Traces of Alibaba's Bailian (Qwen), github.com/alibaba-edu/qwen-bailian-usagetraces-anon."""

from __future__ import annotations

from llmsim.workload.trace_format import TraceFormat


class Bailian(TraceFormat):
    """JSON lines like Mooncake's, but in seconds, and a hash for each 16 tokens; each turn is a request by itself."""

    lines = "jsonl"
    arrival, prompt, output = "timestamp", "input_length", "output_length"
    hashes, hashed_tokens = "hash_ids", 16
    marks = ("chat_id", "parent_chat_id")
