"""Mixtures of experts against batch: they need larger batches than dense models, since more tokens wake more experts.

No requests are simulated: shipped step times of one H100, and the share of experts that wake (uniform routing).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import finish, panels
from llmsim.figures.plan import Plan
from llmsim.latency.hardware import load_model
from llmsim.latency.profile import load_profile
from llmsim.latency.table import StepTable
from llmsim.reports.plots.style import BLUE, COLOURS, ORANGE

GPU, CONTEXT_TOKENS = "h100-sxm-80gb", 512
DENSE, MIXTURE = "llama-3.1-8b", "qwen3-30b-a3b"
BATCHES = tuple(2**power for power in range(11))  # 1 to 1,024
ROUTED = ("mixtral-8x7b", "qwen3-30b-a3b", "gpt-oss-120b", "deepseek-v3")
NEARLY_ALL = 0.95  #: of the experts awake
LARGEST = BATCHES[-1]


def plans(quick: bool) -> tuple[Plan, ...]:
    """None: nothing is simulated."""
    return ()


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Set the rates of both models by batch beside each other, and the experts that wake."""
    steps_s = {name: _steps_s(name) for name in (DENSE, MIXTURE)}
    gains = {name: float(64 * of[0] / of[BATCHES.index(64)]) for name, of in steps_s.items()}
    halves = {name: half_batch(name) for name in steps_s}
    awake_at = {name: nearly_all_awake(name) for name in ROUTED}
    behind = next(batch for i, batch in enumerate(BATCHES) if steps_s[MIXTURE][i] >= steps_s[DENSE][i])
    larger = gains[DENSE] > 2 * gains[MIXTURE] and halves[MIXTURE] > 1.5 * halves[DENSE]
    claim = Claim(
        claim=13,
        statement="Decoding of mixtures of experts needs larger batches than that of dense models, and tokens take "
        "longer with the batch until nearly all experts are awake",
        passed=larger and _flattens(steps_s[MIXTURE]),
        evidence=(
            f"from 1 sequence to 64 tokens/s grow {gains[DENSE]:.0f} x ({DENSE}) and {gains[MIXTURE]:.0f} x "
            f"({MIXTURE}); half of the rate at {LARGEST:,} is reached at {halves[DENSE]} and {halves[MIXTURE]}",
            f"with less than half of its parameters a token, {MIXTURE} is slower than {DENSE} from {behind} on",
            f"{100 * NEARLY_ALL:.0f} % of the experts are awake at "
            + ", ".join(f"{n} tokens ({name})" for name, n in awake_at.items()),
        ),
        limits=(
            f"Composed step times of one H100 at {CONTEXT_TOKENS} tokens of context, uniform routing, GPU alone; "
            "attention to more than 131,072 tokens in a step (256 sequences here) is extrapolated.",
        ),
    )
    table = {
        "sequences": BATCHES,
        **{f"{name} step_s": of for name, of in steps_s.items()},
        **{f"{name} awake": _awake(name, np.array(BATCHES)) for name in ROUTED},
    }
    return Made(claim, {"mixtures": _draw(steps_s)}, {"mixtures": table})


def _table(name: str) -> StepTable:
    return StepTable(load_profile(GPU, name))


def _steps_s(name: str) -> Any:
    table = _table(name)
    return np.array([table.step_time_s((), n, n * CONTEXT_TOKENS) for n in BATCHES])


def half_batch(name: str) -> int:
    """Sequences from which on a model writes half as many tokens a second as with `LARGEST`."""
    table = _table(name)
    most = LARGEST / table.step_time_s((), LARGEST, LARGEST * CONTEXT_TOKENS)
    rates = (n / table.step_time_s((), n, n * CONTEXT_TOKENS) for n in range(1, LARGEST + 1))
    return next(n for n, rate in enumerate(rates, start=1) if rate >= most / 2)


def nearly_all_awake(name: str) -> int:
    """Tokens that wake `NEARLY_ALL` of a model's experts."""
    experts = load_model(name).experts
    assert experts is not None
    return next(n for n in range(1, 10_000) if experts.awake(n) >= NEARLY_ALL * experts.num_experts)


def _awake(name: str, tokens: Any) -> Any:
    experts = load_model(name).experts
    assert experts is not None
    return np.array([experts.awake(float(n)) / experts.num_experts for n in tokens])


def _flattens(steps_s: Any) -> bool:
    """Whether a step grows faster per doubling up to 64 sequences, which wake nearly all, than from there to 256."""
    before, after = steps_s[BATCHES.index(64)] / steps_s[0], steps_s[BATCHES.index(256)] / steps_s[BATCHES.index(64)]
    return bool(before ** (1 / 6) > after ** (1 / 2))


def _draw(steps_s: Any) -> Any:
    figure, (rates, awake) = panels(1, 2, 2.6)
    for (name, of), colour, marker in zip(steps_s.items(), (BLUE, ORANGE), "os", strict=True):
        rates.plot(BATCHES, np.array(BATCHES) / of, color=colour, marker=marker, label=name)
    rates.set_xscale("log", base=2)
    rates.set_yscale("log")
    finish(rates, x="sequences", y="tokens/s", title="One H100, decoding", legend="upper left")
    tokens = np.arange(1, 257)
    for name, colour in zip(ROUTED, COLOURS, strict=False):
        awake.plot(tokens, 100 * _awake(name, tokens), color=colour, label=name)
    awake.axhline(100 * NEARLY_ALL, color="black", linewidth=0.8, linestyle=":")
    awake.set_xscale("log", base=2)
    finish(awake, x="tokens in a step", y="experts awake (%)", title="Uniform routing", legend="lower right")
    return figure


FIGURE = PaperFigure("mixtures", "decode rate by batch, and experts awake", plans, make)
