"""Run what the figures need, once, and make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from llmsim.errors import InputError, nearest
from llmsim.figures import (
    abandonment,
    alpha,
    chunked_prefill,
    disaggregation,
    metrics_against_rate,
    output_delay,
    readers,
    timelines,
)
from llmsim.figures.claim import Claim, PaperFigure
from llmsim.figures.draw import save_all, style
from llmsim.figures.plan import run_plans

FIGURES: dict[str, PaperFigure] = {
    module.FIGURE.name: module.FIGURE
    for module in (
        timelines,
        metrics_against_rate,
        alpha,
        chunked_prefill,
        output_delay,
        abandonment,
        readers,
        disaggregation,
    )
}


def figure_names() -> list[str]:
    """Names of all figures, in the order of their claims."""
    return list(FIGURES)


def make_figures(
    names: Sequence[str] = (),
    *,
    quick: bool = False,
    out: Path | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Claim], list[Path]]:
    """Make the named figures, or all; return their claims and, with `out`, the files written there."""
    for name in names:
        if name not in FIGURES:
            raise InputError(f"unknown figure '{name}'{nearest(name, FIGURES)}")
    chosen = [FIGURES[name] for name in names or FIGURES]
    sweeps = run_plans((plan for figure in chosen for plan in figure.plans(quick)), workers=workers, progress=progress)
    files: list[Path] = []
    with style():
        made = [figure.make(sweeps, quick) for figure in chosen]
        claims = [one.claim for one in made]
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            for one in made:
                files += save_all(out, one.pictures, one.tables)
    return claims, files
