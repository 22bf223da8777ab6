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
from llmsim.reports.tables.plan_tables import PHASE_HEADS, phase_rows
from llmsim.studies.plan import PLAN_FILE
from llmsim.studies.plan.binding import Binding
from llmsim.studies.plan.by_phase import Phase
from llmsim.studies.plan.loads import RATE, USERS
from llmsim.studies.plan.other_bounds import JudgedCluster, OtherBounds
from llmsim.studies.plan.plan_folder import OTHER_BOUNDS
from llmsim.studies.plan.plan_rows import CandidateRow, EvaluationRow, LoadRow

PICTURES = {
    "pareto.png": "Cost of a million output tokens against the speed that the median user sees, for what carries.",
    "tornado.png": "Which assumption moves the answer.",
}
HEADS = ("GPUs of an instance", "scheduler", "inst.", "load", "found", "P", "runs", "requests", "USD/h", "USD/Mtok")

FEWEST = "The fewest instances for the rate of each phase, one after the other, as if it stayed:"
SEEN = "What users of {} see in each phase, over days and seeds:"
TORNADO_HEADS = ("assumption", "low", "then", "high", "then")


def plan_page(folder: Path) -> str:
    """Return the page of a folder that `llmsim plan` has written; InputError if it is none."""
    plan = stored(folder / PLAN_FILE)
    rows = [EvaluationRow.from_dict(one) for one in plan["evaluations"]]
    sliders = what_if.section(_what_if(plan, rows, OtherBounds.from_dict(stored(folder / OTHER_BOUNDS))))
    sections = [
        html.section("Another SLO, confidence or price", *sliders),
        *_changing(plan),
        *_tornado(plan.get("tornado")),
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
    return (
        f" With the error of {certainty['step_times']} ({certainty['source']}) P = {certainty['probability']:.2f}: "
        f"it holds with step times up to x {certainty['step_time_factor']:.2f}."
    )


def _changing(plan: Mapping[str, Any]) -> Iterator[Html]:
    """Instances that come and go, and what each phase of a load's period needs and sees, where these were asked for."""
    content: list[Html] = []
    if (scaled := plan.get("autoscaled")) is not None:
        probability = "" if scaled["probability"] is None else f", P = {scaled['probability']:.3f}"
        words = f"{scaled['answer']}{probability}, {scaled['usd_per_hour']:,.2f} USD/h in the mean; {scaled['reason']}"
        content.append(element("p", element("b", "Instances by the rule of autoscaling: "), words, "."))
    if "phases" in plan:
        rows = [(number_text(one["rate_per_s"]), str(one["instances"] or "?")) for one in plan["phases"]]
        content += [element("p", FEWEST), html.table(("rate/s", "fewest instances"), rows, words=0)]
    for name, whose in (("by_phase", "the best answer"), ("autoscaled_by_phase", "instances that come and go")):
        if name in plan:
            days = [Phase.from_dict(one) for one in plan[name]]
            content += [element("p", SEEN.format(whose)), html.table(PHASE_HEADS, phase_rows(days))]
    if content:
        yield html.section("A load that changes", *content)


def _tornado(tornado: Mapping[str, Any] | None) -> Iterator[Html]:
    """Each assumption's ends, as numbers; none where it was not asked for."""
    if tornado is None:
        return
    key = USERS if f"asked_{USERS}" in tornado else RATE
    load = LoadRow(key, tornado[f"largest_{key}"])
    words = f"With all as assumed {load} at most, {tornado['usd_per_hour']:,.2f} USD/h for what is asked."
    rows = [
        (bar["assumption"], *(_end(bar[end], key, which) for end in ("low", "high") for which in ("said", "found")))
        for bar in tornado["bars"]
    ]
    left_out = [f"{name} ({why})" for name, why in tornado["not_varied"].items()]
    quiet = [element("p", f"Not varied: {'; '.join(left_out)}", class_="quiet")] if left_out else []
    yield html.section("What moves the answer", element("p", words), html.table(TORNADO_HEADS, rows, words=5), *quiet)


def _end(end: Mapping[str, Any], key: str, which: str) -> str:
    if which == "said":
        return str(end["assumed"])
    if end[key] is None:
        return "carries nothing"
    return f"{LoadRow(key, float(f'{end[key]:.4g}'))}, {end['usd_per_hour']:,.2f} USD/h"


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
