"""The metrics of other papers as rows."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from llmsim.metrics.catalogue import of_section
from llmsim.metrics.kpi import Kpi
from llmsim.metrics.score import Score
from llmsim.metrics.sections.choices import Choices
from llmsim.metrics.sections.other_forms import OtherForms
from llmsim.reports.format import number_text, share_text
from llmsim.reports.terminal import say


def show_forms(score: Score, console: Console) -> None:
    """Print a row for each form, if there are any, and the bounds that they rest on."""
    forms = score.find(OtherForms)
    if forms is None:
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    table.add_column("by the rules of other papers")
    table.add_column("", justify="right")
    for kpi in of_section(OtherForms):
        name = kpi.key.partition(".")[2]
        table.add_row(kpi.name, _shown(forms[name], kpi))
    console.print(table)
    slo, user = score.section(Choices).slo or {}, score.section(Choices).user or {}
    bounds = [f"{name} = {bound:g}" for name, bound in slo.items() if bound is not None]
    speed = [f"reader {user['tokens_per_s']:g} tokens/s"] if user else []
    say(console, f"with {', '.join([*bounds, *speed])}; P90 interactivity: exceeded by 90 % of requests", style="dim")


def _shown(value: float | None, kpi: Kpi) -> str:
    if value is not None and kpi.kind == "test":
        return "yes" if value else "no"
    if kpi.unit == "share":
        return share_text(value)
    return number_text(value) + (f" {kpi.unit}" if kpi.unit and value is not None else "")
