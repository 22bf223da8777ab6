"""The scenario of tests that need one that runs in a moment: requests of one length, one GPU, times by a data sheet."""

from __future__ import annotations


def small(name: str, requests: int = 40, more: str = "") -> str:
    """Its TOML; `more` goes on in [cluster], or begins a table."""
    return f"""\
name = "{name}"
[workload]
requests = {requests}
arrivals = {{ process = "poisson", rate_per_s = 8.0 }}
lengths = {{ source = "fixed", prompt_tokens = 200, output_tokens = 20 }}
[cluster]
latency = "roofline"
{more}"""
