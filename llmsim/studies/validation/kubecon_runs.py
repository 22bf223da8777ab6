"""Reads inference-perf's stage reports of the KubeCon runs: one file a stage, summaries instead of requests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.errors import InputError
from llmsim.workload.arrivals.gamma import Gamma
from llmsim.workload.contract import Workload
from llmsim.workload.prefixes import Prefixes

FOLDER = "groundtruth/kubecon_h100"
STAGES = 7
OUTPUT_TOKENS = 64  #: forced; the report counts tokens of the text anew, and differs
PROMPTS, SHARING = 100, 10  #: different prompts, sent in turns; prompts with the same system prompt
SYSTEM_SHARE = 128 / (128 + 64)  #: of a prompt: the system prompt's
SATURATED = 0.95  #: completed per requested rate, below which a stage counts as saturated


@dataclass(frozen=True)
class Stage:
    """One stage: so many requests at one rate."""

    run: str
    number: int
    requests: int
    rate_per_s: float  #: asked of the client
    prompt_tokens: int  #: mean, rounded
    requests_per_s: float  #: completed
    ttft_s: float  #: mean, from sending, as `e2e_s`
    e2e_s: float
    #: percentiles 50, 90, 98 of the gaps between tokens: 75, 95, 99 of the report, half of whose gaps are within one
    gaps_s: tuple[float, float, float]

    @property
    def name(self) -> str:
        """Such as ``seqs128 at 62/s``."""
        return f"{self.run} at {self.rate_per_s:.0f}/s"

    @property
    def saturated(self) -> bool:
        """Whether the engine did not keep up."""
        return self.requests_per_s < SATURATED * self.rate_per_s

    def workload(self, seed: int) -> Workload:
        """Draw requests as inference-perf does.

        Its "constant" load has exponential gaps, rescaled so that they fill the stage (loadgen/load_timer.py,
        ConstantLoadTimer). The reports agree: with equal gaps 60 requests at 1/s would have been sent within 59.0 s,
        they took 58.5, 59.7 and 59.1 s.
        """
        rng = np.random.default_rng(seed)
        arrival_s = Gamma(self.rate_per_s, burstiness=1.0, rescale=True).times_s(rng, self.requests)
        tokens = np.full(self.requests, 1, dtype=np.int64)
        prefixes = self._prefixes(rng) if self.prefix_caching else None
        return Workload(arrival_s, tokens * self.prompt_tokens, tokens * OUTPUT_TOKENS, self.name, prefixes)

    @property
    def prefix_caching(self) -> bool:
        """Whether the engine kept KV blocks for prompts that begin alike."""
        return self.run == "chunked_prefix"

    def _prefixes(self, rng: np.random.Generator) -> Prefixes:
        """All prompts are one of `PROMPTS`, whole; each ten of them begin with the same system prompt."""
        prompt = np.resize(rng.permutation(PROMPTS), self.requests)
        ids = np.stack([prompt // SHARING, PROMPTS // SHARING + prompt], axis=1).reshape(-1)
        system_tokens = round(self.prompt_tokens * SYSTEM_SHARE)
        ends = np.tile([system_tokens, self.prompt_tokens], self.requests)
        return Prefixes(ids, ends, 2 * np.arange(self.requests + 1))


def read_stages(data_dir: Path, run: str) -> list[Stage]:
    """Read all stages of a run. InputError names file and key of what is missing."""
    return [_read(data_dir / FOLDER / run / f"stage_{n}_lifecycle_metrics.json", run, n) for n in range(STAGES)]


def _read(path: Path, run: str, number: int) -> Stage:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None

    def value(*keys: str) -> float:
        found: Any = report
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, int | float):
            raise InputError(f"{path}: expected a number at {'.'.join(keys)}")
        return float(found)

    latency = ("successes", "latency")
    return Stage(
        run=run,
        number=number,
        requests=int(value("load_summary", "count")),
        rate_per_s=value("load_summary", "requested_rate"),
        prompt_tokens=round(value("successes", "prompt_len", "mean")),
        requests_per_s=value("successes", "throughput", "requests_per_sec"),
        ttft_s=value(*latency, "time_to_first_token", "mean"),
        e2e_s=value(*latency, "request_latency", "mean"),
        gaps_s=(
            value(*latency, "inter_token_latency", "p75"),
            value(*latency, "inter_token_latency", "p95"),
            value(*latency, "inter_token_latency", "p99"),
        ),
    )
