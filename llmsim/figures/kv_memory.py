"""Keys and values in fp8, and windows: more load where memory binds, and hardly a change of idle TPOT."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from llmsim import experiment
from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import finish, panels
from llmsim.figures.plan import Plan
from llmsim.latency.build import build_latency
from llmsim.latency.hardware import kv_blocks, load_gpu, load_model
from llmsim.reports.plots.style import BLUE, ORANGE
from llmsim.scenario import load_scenario

#: weights fill most of the GPU, so that memory binds before anything else
GPU, MODEL, CONTEXT_TOKENS, BLOCK_TOKENS = "h100-sxm-80gb", "qwen3-32b", 4096, 16
RATES_PER_S = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
ATTAINED = 0.9  #: of the requests meet the SLO: the largest such rate counts
TYPES = {"bfloat16": BLUE, "fp8": ORANGE}
WINDOWED, WINDOWED_ON, SEATS = "gpt-oss-120b", "h200-sxm", 256


@dataclass(frozen=True, slots=True)
class Kept:
    """One type of keys and values: what it makes room for, how long an idle step takes, and what was attained."""

    blocks: int
    idle_s: float
    attained: tuple[float, ...]  #: by rate

    @property
    def carries_per_s(self) -> float:
        """The largest rate with `ATTAINED`, all below it included; 0 if none."""
        held = takewhile(lambda one: one[1] >= ATTAINED, zip(RATES_PER_S, self.attained, strict=True))
        return max((rate for rate, _ in held), default=0.0)


def plans(quick: bool) -> tuple[Plan, ...]:
    """None of the paper's settings: these runs are its own."""
    return ()


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Serve the same requests with both types."""
    kept = {name: _kept(name, 100 if quick else 300) for name in TYPES}
    one, other = kept["bfloat16"], kept["fp8"]
    full, windows = _blocks_of_windows()
    idle = abs(other.idle_s / one.idle_s - 1)
    claim = Claim(
        claim=14,
        statement="Keys and values in fp8, and windows in half of the layers, raise the load within an SLO where "
        "memory binds, and hardly move TPOT on an idle instance",
        passed=other.carries_per_s > one.carries_per_s and idle < 0.03 and windows > 1.5 * full,
        evidence=(
            f"{MODEL} on one H100: {one.blocks:,} blocks in bf16, {other.blocks:,} in fp8; {100 * ATTAINED:.0f} % "
            f"within the SLO up to {one.carries_per_s:g} and {other.carries_per_s:g} requests/s",
            f"an idle step takes {1e3 * one.idle_s:.1f} and {1e3 * other.idle_s:.1f} ms",
            f"{WINDOWED} on one H200 with {SEATS} seats: {full:,} blocks if every layer kept all, {windows:,} so",
        ),
        limits=(
            f"Roofline step times, prompts of {CONTEXT_TOKENS:,} tokens, one seed.",
            "Blocks of windows are a lower bound: the windows of all seats are set aside.",
        ),
    )
    table = {"rate_per_s": RATES_PER_S, **{f"{name} attainment": each.attained for name, each in kept.items()}}
    return Made(claim, {"kv_memory": _draw(kept)}, {"kv_memory": table})


def _kept(name: str, requests: int) -> Kept:
    gpu, model = load_gpu(GPU), load_model(MODEL).with_kv_cache(name)
    idle_s = build_latency("roofline", gpu, model).step_time_s((), 1, CONTEXT_TOKENS)
    attained = tuple(_attained(name, rate, requests) for rate in RATES_PER_S)
    return Kept(kv_blocks(gpu, model), idle_s, attained)


def _attained(name: str, rate_per_s: float, requests: int) -> float:
    changes = [
        *(f"cluster.gpu={GPU}", f"cluster.model={MODEL}", "cluster.latency=roofline", f"cluster.kv_cache_dtype={name}"),
        f"workload.arrivals={{process='poisson', rate_per_s={rate_per_s}}}",
        f"workload.lengths={{source='fixed', prompt_tokens={CONTEXT_TOKENS}, output_tokens=512}}",
        *(f"workload.requests={requests}", "slo={ttft_s=2.0}", "window.kind=makespan"),
    ]
    share = experiment.run(load_scenario("quickstart", changes)).score["slo.attainment"]
    assert isinstance(share, float)
    return share


def _blocks_of_windows() -> tuple[int, int]:
    gpu, model = load_gpu(WINDOWED_ON), load_model(WINDOWED)
    return kv_blocks(gpu, model), kv_blocks(gpu, model, max_num_seqs=SEATS)


def _draw(kept: dict[str, Kept]) -> Any:
    figure, (attained, room) = panels(1, 2, 2.6)
    for (name, each), marker in zip(kept.items(), "os", strict=True):
        shares = [100 * share for share in each.attained]
        attained.plot(RATES_PER_S, shares, color=TYPES[name], marker=marker, label=name)
    attained.axhline(100 * ATTAINED, color="black", linewidth=0.8, linestyle=":")
    finish(attained, x="requests/s", y="within the SLO (%)", title=f"{MODEL}, one H100", legend="lower left")
    tokens = [each.blocks * BLOCK_TOKENS / 1000 for each in kept.values()]
    room.bar(list(kept), tokens, color=[TYPES[name] for name in kept])
    finish(room, x="keys and values", y="tokens in memory (thousands)", title="Room beside the weights")
    return figure


FIGURE = PaperFigure("kv_memory", "attainment by type of keys and values", plans, make)
