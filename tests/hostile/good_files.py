"""Good files of every kind that a command reads: what is spoiled begins from these."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

from places import ROOT
from result_files import asked, of_every_kind

SCENARIO = """\
name = "small"
seed = 1
[workload]
requests = 12
arrivals = { process = "poisson", rate_per_s = 4.0 }
lengths = { source = "fixed", prompt_tokens = 60, output_tokens = 6 }
classes = [{ name = "chat", weight = 3 }, { name = "batch", weight = 1, priority = 1 }]
[cluster]
gpu = "a100-sxm4-80gb"
model = "llama-3.1-8b"
latency = "roofline"
[scheduler]
name = "chunked_prefill"
max_num_seqs = 8
[slo]
ttft_s = 1.0
tbt_s = 0.2
[sweep]
"cluster.instances" = [1, 2]
seeds = 1
[plan]
find = "instances"
targets = ["ttft_s.p90 <= 1.0"]
most_instances = 2
most_requests = 2000
least_seeds = 2
most_seeds = 2
"""
POLICY = """\
from __future__ import annotations
import os, signal, sys, time
from dataclasses import dataclass
from llmsim.scheduler import DECODE, Decision, Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill

@dataclass(frozen=True)
class Mine(ChunkedPrefill):
    seats: int = 4

    def schedule(self, view):
        {schedule}

    def why_never(self, request, limits):
        {why_never}

    def new_queue(self):
        {new_queue}
"""
PASSES_ON = {
    "schedule": "return super().schedule(view)",
    "why_never": "return super().why_never(request, limits)",
    "new_queue": "return super().new_queue()",
}
LATENCY = """\
from __future__ import annotations
import sys
from dataclasses import dataclass
from llmsim.latency.contract import LatencyModel

@dataclass(frozen=True)
class Mine(LatencyModel):
    step_s: float = 0.01

    def step_time_s(self, prefill, decoding, context_tokens):
        {body}
"""
CSV_TRACE = "arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{i / 4},{50 + i},{5 + i % 3}\n" for i in range(20))
STEPS = "prefills,prefill_tokens,decoding,context_tokens,step_s\n" + "".join(
    [f"1,{100 * i},0,0,{0.01 + 1e-5 * 100 * i}\n" for i in range(1, 20)]
    + [f"0,0,{i},{900 * i},{0.008 + 1e-7 * 900 * i}\n" for i in range(1, 20)]
)


def traces() -> dict[str, str]:
    """Traces by name."""
    rows = [{"timestamp": 250 * i, "input_length": 600, "output_length": 5, "hash_ids": [0, i + 1]} for i in range(20)]
    azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
        f"2023-11-16 18:15:{46 + i // 4}.{i % 4}000000,{50 + i},{5 + i % 3}\n" for i in range(20)
    )
    chats = [{"conversations": [{"from": "human", "value": "hello " * 20}, {"from": "gpt", "value": "well " * 9}]}] * 5
    return {
        "trace.csv": CSV_TRACE,
        "mooncake.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "azure.csv": azure,
        "sharegpt.json": json.dumps(chats),
    }


def results() -> dict[str, str]:
    """Files of measured results, of every tool, by name."""
    return of_every_kind(asked(12))


def profiles() -> dict[str, str]:
    """Profiles of a GPU, a model and a host, and a config.json of Hugging Face."""
    folder = ROOT / "hardware_profiles"
    config = {
        **{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"},
        **{"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
        **{"num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072},
        **{"hidden_act": "silu", "tie_word_embeddings": False},
    }
    return {
        "gpu.toml": (folder / "gpus" / "a100-sxm4-80gb.toml").read_text(encoding="utf-8"),
        "model.toml": (folder / "models" / "llama-3.1-8b.toml").read_text(encoding="utf-8"),
        "config.json": json.dumps(config),
    }


def population() -> dict[str, str]:
    """Files of ServeGen's clients, of whom there is one."""
    windows = "".join(f"{start},2.0,1.0,Gamma,1.0,0.5\n" for start in (0, 600, 1200))
    lengths = {"input_tokens": "{45: 0.25, 46: 0.75}", "output_tokens": "{0: 0.1, 5: 0.4, 9: 0.5}"}
    return {"chunk-0-trace.csv": windows, "chunk-0-dataset.json": json.dumps({"0": lengths, "1200": lengths})}


def clients() -> bytes:
    """An archive of ServeGen's clients."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in population().items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)


def write_stored(folder: Path) -> None:
    """Make stored results of each kind, to be spoiled: a run and a sweep. What is good must pass every command."""
    from llmsim.cli import main

    (folder / "small.toml").write_text(SCENARIO, encoding="utf-8")
    small = str(folder / "small.toml")
    for words in (
        ["run", small, "--out", str(folder / "run")],
        ["sweep", small, "--jobs", "1", "--out", str(folder / "sweep")],
        ["compare", small, "--schedulers", "fcfs,static", "--json"],
        ["plan", small, "--json"],
    ):
        if main(words) != 0:
            raise RuntimeError(f"llmsim {' '.join(words)} fails on a good scenario")
