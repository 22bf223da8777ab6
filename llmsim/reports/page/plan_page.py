"""The page of a plan: the answer, how sure it is, what other SLOs would need, what was looked at, how to ask again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsim.metrics.catalogue import kpi_of
from llmsim.metrics.sections.other_forms import is_form
from llmsim.reports.format import number_text, value_text
from llmsim.reports.page import html, what_if
from llmsim.reports.page.html import Html, element
from llmsim.reports.page.run_page import scenario_table
from llmsim.reports.page.stored import stored
from llmsim.reports.page.timeline import SCRIPT
from llmsim.reports.page.what_if import Option, WhatIf
from llmsim.studies.plan import PLAN_FILE
from llmsim.studies.plan.binding import Binding
from llmsim.studies.plan.other_bounds import JudgedCluster, OtherBounds
from llmsim.studies.plan.plan_folder import OTHER_BOUNDS
from llmsim.studies.plan.plan_rows import CandidateRow, EvaluationRow, LoadRow

PICTURES = {
    "pareto.png": "Cost of a million output tokens against the speed that the median user sees, for what carries.",
    "tornado.png": "Which assumption moves the answer.",
}
HEADS = ("GPUs of an instance", "scheduler", "inst.", "load", "found", "P", "runs", "requests", "USD/h", "USD/Mtok")


def plan_page(folder: Path) -> str:
    """Return the page of a folder that `llmsim plan` has written; InputError if it is none."""
    plan = stored(folder / PLAN_FILE)
    rows = [EvaluationRow.from_dict(one) for one in plan["evaluations"]]
    sliders = what_if.section(_what_if(plan, rows, OtherBounds.from_dict(stored(folder / OTHER_BOUNDS))))
    sections = [
        html.section("Another SLO, confidence or price", *sliders),
        html.section("What was looked at", *_looked_at(rows, plan["left_out"])),
        html.section("What binds", *_bound(plan["candidates"])),
        html.section("Pictures", *html.pictures(folder, PICTURES)),
        html.section("The scenario", scenario_table(plan["scenario"])),
        html.section("The plan", html.pairs((key, value_text(value)) for key, value in plan["plan"].items())),
        html.section("Ask again", html.command(plan["command"])),
    ]
    return html.document(
        f"{plan['name']}: a plan",
        element("h1", plan["name"]),
        element("p", _question(plan)),
        _answer(plan),
        *sections,
        script=f"{SCRIPT}\n{what_if.SCRIPT}",
    )


def _question(plan: Mapping[str, Any]) -> str:
    what = "The fewest instances for a load" if plan["find"] == "instances" else "The largest load"
    met = " and ".join(plan["targets"])
    return f"{what}, so that {met}, with a confidence of {100 * plan['confidence']:g} %."


def _answer(plan: Mapping[str, Any]) -> Html:
    found = plan["best"] is not None
    more = _with_model_error(plan.get("with_model_error"))
    said = element("b", plan["answer"][:1].upper() + plan["answer"][1:], ".")
    return element("div", said, more, class_=f"verdict {'good' if found else 'bad'}")


def _with_model_error(certainty: Mapping[str, Any] | None) -> str:
    if certainty is None:
        return ""
    held = "holds with step times up to" if certainty["holds_up_to_quantile"] is not None else "fails with step times"
    return (
        f" With the error of {certainty['step_times']} ({certainty['source']}) P = {certainty['probability']:.2f}: "
        f"it {held} x {certainty['step_time_factor']:.2f}."
    )


def _looked_at(rows: Iterable[EvaluationRow], left_out: Iterable[str]) -> Iterator[Html]:
    yield html.table(HEADS, map(_row, rows), words=2)
    for words in left_out:
        yield element("p", f"Left out: {words}", class_="quiet")


def _row(row: EvaluationRow) -> tuple[object, ...]:
    probability = "–" if row.probability is None else f"{row.probability:.3f}"
    costs = (f"{row.usd_per_hour:,.2f}", number_text(row.usd_per_million_tokens))
    counts = (f"{row.seeds}", f"{row.requests:,}")
    cluster = (row.candidate.hardware, row.candidate.scheduler, row.instances)
    return (*cluster, str(row.load), row.outcome, probability, *counts, *costs)


def _bound(candidates: Iterable[Mapping[str, Any]]) -> Iterator[Html]:
    """What each candidate has least of, at the size or load that shows it."""
    rows = []
    for one in candidates:
        if (binds := one["binds"]) is not None:
            where = f"{CandidateRow.from_dict(one).name}: {binds['instances']} at {LoadRow.from_dict(binds)}"
            rows.append((where, str(Binding.from_dict(binds))))
    yield html.pairs(rows)


def _what_if(plan: Mapping[str, Any], rows: Sequence[EvaluationRow], beside: OtherBounds) -> WhatIf:
    """What the sliders choose among: each cluster that was looked at."""
    targets, by_load = beside.targets, plan["find"] == "load"
    groups = {words: i for i, words in enumerate(dict.fromkeys(row.candidate.name for row in rows))}
    pairs = zip(rows, beside.clusters, strict=True)
    options = tuple(_option(row, cluster, groups[row.candidate.name], by_load=by_load) for row, cluster in pairs)
    rates = [t.metric for t in targets if t.of_slo and (is_form(t.metric) or kpi_of(t.metric).unit != "share")]
    return WhatIf(
        plan["find"],
        ("GPUs of an instance", "inst.", "load"),
        targets,
        options,
        _prices(plan),
        plan["confidence"],
        plan["command"],
        beside.given,
        f"{rates[0]} depends on them, and was not kept for others" if rates else "",
    )


def _option(row: EvaluationRow, cluster: JudgedCluster, group: int, *, by_load: bool) -> Option:
    n, load = row.instances, str(row.load)
    carry = "carries" if n == 1 else "carry"
    return Option(
        f"{n} x {row.candidate.hardware} {carry} {load}",
        load if by_load else str(n),
        (row.candidate.name, n, load),
        cluster.gpus,
        cluster.found,
        None if cluster.steady else row.outcome,
        group,
        float(row.load.amount) if by_load else n,
        by_load,
        cluster.output_tokens_per_s,
    )


def _prices(plan: Mapping[str, Any]) -> dict[str, float]:
    return {one["gpu"]: one["price_usd_per_gpu_hour"] for one in plan["candidates"]}
