"""Chunked prefill against prefill first: where smooth goodput peaks, and when a better tail ITL does users no good."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draw import finish, legend_above, panels, policy_band
from llmsim.figures.intervals import crossing, interval, peaks
from llmsim.figures.plan import POLICIES, Plan, Sweep, grid, means_by_rate
from llmsim.record import Floats

FIRST, LARGE, SMALL = POLICIES
#: reader, tokens/s, by which the peak is judged: fast enough to notice generation stalls
FAST = 30.0
SLOW = 5.0


def plans(quick: bool) -> tuple[Plan, ...]:
    """Each setting under all three policies."""
    return grid(quick, *POLICIES)


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Judge each setting: does the peak move up, and do the two regimes of the first version show."""
    all_plans = plans(quick)
    trios = [[sweeps[plan] for plan in all_plans[i : i + 3]] for i in range(0, len(all_plans), 3)]
    shifts = [text for trio in trios for text in _shifts(trio)]
    judged = [_regimes(trio) for trio in trios]
    moved = [_moves(trio) for trio in trios]
    claim = Claim(
        claim=4,
        statement=f"For a reader of {FAST:g} tokens/s, fast enough to notice generation stalls, chunked prefill moves "
        "the peak of smooth goodput to a higher rate than prefill first; and yet better tail ITL by chunking does not "
        "always raise smooth goodput",
        passed=moved[0] and judged[0][0],
        evidence=(*shifts[:4], judged[0][1]),
        limits=(
            *shifts[4:],
            *(f"two regimes {'also seen' if seen else 'not seen'}: {text}" for seen, text in judged[1:]),
            f"A reader of {SLOW:g} tokens/s, the paper's, has tokens in hand through most stalls: for him chunks "
            "matter less than the throughput and TTFT that small ones cost, and the peak need not move.",
        ),
    )
    return Made(claim, {"chunked_prefill": _draw(trios[0])}, {"chunked_prefill": _table(trios)})


def _moves(trio: list[Sweep]) -> bool:
    """The peak of the fast reader moves up with either chunk size."""
    return any(interval(_shift(trio, sweep, FAST)).positive for sweep in trio[1:])


def _shift(trio: list[Sweep], sweep: Sweep, reader: float) -> Floats:
    rates = sweep.rates_per_s
    return peaks(rates, sweep.smooth_goodput(reader)) - peaks(rates, trio[0].smooth_goodput(reader))


def _shifts(trio: list[Sweep]) -> list[str]:
    out = []
    for sweep in trio[1:]:
        for reader in (FAST, SLOW):
            shift = interval(_shift(trio, sweep, reader))
            before = interval(peaks(sweep.rates_per_s, trio[0].smooth_goodput(reader)))
            verdict = "moves up" if shift.positive else "moves down" if shift.negative else "does not clearly move"
            out.append(
                f"{sweep.plan.setting}, {sweep.plan.policy}, reader of {reader:g} tokens/s: the peak {verdict} "
                f"by {shift} requests/s from {before}"
            )
    return out


def _regimes(trio: list[Sweep]) -> tuple[bool, str]:
    """Small chunks lower tail ITL at every rate; smooth goodput rises for some readers and rates, falls for others."""
    first, _, small = trio
    rates = small.rates_per_s
    tail_ms = 1e3 * (small.values["tbt_s_p99"] - first.values["tbt_s_p99"]).mean(axis=1)
    better = {reader: small.smooth_goodput(reader) - first.smooth_goodput(reader) for reader in (FAST, SLOW)}
    up = [float(r) for r, row in zip(rates, better[FAST], strict=True) if interval(row).positive]
    down = [float(r) for r, row in zip(rates, better[SLOW], strict=True) if interval(row).negative]
    meet = {reader: crossing(rates, x.mean(axis=1)) for reader, x in better.items()}
    where = "at every rate" if (tail_ms < 0).all() else f"at {int((tail_ms < 0).sum())} of {len(rates)} rates"
    gain, loss = better[FAST].mean(axis=1).max(), -better[SLOW].mean(axis=1).min()
    text = (
        f"{first.plan.setting}, chunks of 512 against prefill first: P99 ITL is lower {where} (by up to "
        f"{-tail_ms.min():.0f} ms); smooth goodput rises for {FAST:g} tokens/s at {_span(up)} (by up to {gain:.0f} "
        f"tokens/s) and falls for {SLOW:g} tokens/s at {_span(down)} (by up to {loss:.0f}); gain and loss meet at "
        f"{_at(meet[FAST])} for {FAST:g} and {_at(meet[SLOW])} for {SLOW:g} tokens/s"
    )
    return bool(up and down and (tail_ms < 0).sum() >= len(rates) - 1), text


def _span(rates: list[float]) -> str:
    return f"{len(rates)} rates from {rates[0]:.2f} to {rates[-1]:.2f} requests/s" if rates else "no rate"


def _at(rate: float) -> str:
    return "no rate" if np.isnan(rate) else f"{rate:.2f} requests/s"


def _draw(trio: list[Sweep]) -> Any:
    figure, axes = panels(1, 4, 2.3)
    first = trio[0]
    for sweep in trio:
        rates, policy = sweep.rates_per_s, sweep.plan.policy
        policy_band(axes[0], rates, 1e3 * sweep.values["tbt_s_p99"], policy, log=True)
        policy_band(axes[1], rates, sweep.smooth_goodput(FAST), policy)
        if sweep is not first:
            for panel, reader in ((axes[2], FAST), (axes[3], SLOW)):
                policy_band(panel, rates, sweep.smooth_goodput(reader) - first.smooth_goodput(reader), policy)
    finish(axes[0], x="requests/s", y="P99 ITL (ms)")
    axes[1].set_ylim(bottom=0)
    finish(axes[1], x="requests/s", y="smooth goodput\n(tokens/s)", title=f"reader: {FAST:g} tokens/s")
    for panel, reader in ((axes[2], FAST), (axes[3], SLOW)):
        panel.axhline(0, color="black", linewidth=0.6)
        title = f"reader: {reader:g} tokens/s"
        finish(panel, x="requests/s", y="smooth goodput against\nprefill first (tokens/s)", title=title)
    legend_above(figure, axes[0])
    return figure


def _table(trios: list[list[Sweep]]) -> dict[str, list[Any]]:
    return means_by_rate(
        (
            {"setting": sweep.plan.setting, "policy": sweep.plan.policy},
            sweep,
            {"tbt_s_p99": sweep.values["tbt_s_p99"]}
            | {f"smooth_goodput_{reader:g}": sweep.smooth_goodput(reader) for reader in (SLOW, FAST)},
        )
        for trio in trios
        for sweep in trio
    )


FIGURE = PaperFigure("chunked_prefill", "claims of both versions", plans, make)
