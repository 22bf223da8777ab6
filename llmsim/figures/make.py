"""Run what the figures need, once, and make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from llmsim import __version__
from llmsim.errors import InputError, nearest
from llmsim.figures import (
    abandonment,
    adaserve,
    alpha,
    chunked_prefill,
    disaggregation,
    how_long,
    kv_memory,
    metrics_against_rate,
    mixtures,
    output_delay,
    ranking,
    readers,
    routing,
    slos_serve,
    slos_serve_drafts,
    speculation,
    tenants,
    timelines,
)
from llmsim.figures.claim import Claim, Made, PaperFigure
from llmsim.figures.draw import save_all, style
from llmsim.figures.runs import run_plans
from llmsim.reports.plots.style import footer
from llmsim.studies.executors import Executors, in_processes
from llmsim.studies.kept_runs import KeptRuns

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
        slos_serve,
        slos_serve_drafts,
        tenants,
        how_long,
        speculation,
        adaserve,
        routing,
        mixtures,
        kv_memory,
        ranking,
    )
}
RELATED = ("slos_serve", "slos_serve_drafts", "tenants", "how_long", "speculation", "adaserve", "routing")
#: figures that are made together; without a name those of the paper are
PAPER = "paper"
MODELS = ("mixtures", "kv_memory")
#: too long to be made with others
ALONE = ("ranking",)
RUNS = "runs"  #: in the folder of pictures: the numbers of each run, by all that they depend on
PROCESSES = 2  #: that simulate, unless executors are given
GROUPS = {
    PAPER: tuple(name for name in FIGURES if name not in (*RELATED, *MODELS, *ALONE)),
    "related": RELATED,
    "models": MODELS,
}


def figure_names() -> list[str]:
    """Names of all figures, in the order of their claims."""
    return list(FIGURES)


def footed(figure: PaperFigure, made: Made, picture: Figure) -> Figure:
    """A picture that says below what it shows: of which paper, which claim, and how to make it again."""
    shows = f"arXiv 2410.14257, {figure.shows}" if figure.numbers else figure.shows
    words = (shows, f"claim {made.claim.claim}", f"llmsim figures {figure.name}", f"llmsim {__version__}")
    return footer(picture, " · ".join(words))


def _kept(folder: Path) -> KeptRuns:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
    return KeptRuns(folder)


def make_figures(
    names: Sequence[str] = (),
    *,
    quick: bool = False,
    out: Path | None = None,
    executors: Executors | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Claim], list[Path]]:
    """Make the named figures and groups, or those of the paper; return their claims and the files written to `out`.

    Runs are kept in `out`, too, and not made again.
    """
    for name in names:
        if name not in FIGURES and name not in GROUPS:
            raise InputError(f"unknown figure '{name}'{nearest(name, [*FIGURES, *GROUPS])}")
    wanted = dict.fromkeys(each for name in names or (PAPER,) for each in GROUPS.get(name, (name,)))
    chosen = [FIGURES[name] for name in wanted]
    sweeps = run_plans(
        (plan for figure in chosen for plan in figure.plans(quick)),
        executors=executors or in_processes(PROCESSES),
        progress=progress,
        kept=None if out is None else _kept(out / RUNS),
    )
    files: list[Path] = []
    with style():
        made = [figure.make(sweeps, quick) for figure in chosen]
        claims = [one.claim for one in made]
        if out is not None:
            for figure, one in zip(chosen, made, strict=True):
                pictures = {figure.file_name(n): footed(figure, one, drawn) for n, drawn in one.pictures.items()}
                files += save_all(out, pictures, {figure.file_name(name): table for name, table in one.tables.items()})
    return claims, files
