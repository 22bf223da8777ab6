"""The page of a plan: the answer, how sure it is, what other SLOs would need, what was looked at, how to ask again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
from llmsim.reports.page.what_if import Option, Target, WhatIf
from llmsim.statistics import OVERLOADED, TOO_SHORT, UNSERVED
from llmsim.studies.plan import PLAN_FILE
from llmsim.studies.plan.binding import Binding
from llmsim.studies.plan.loads import RATE, USERS
from llmsim.studies.plan.plan_folder import OTHER_BOUNDS

PICTURES = {
    "pareto.png": "Cost of a million output tokens against the speed that the median user sees, for what carries.",
    "tornado.png": "Which assumption moves the answer.",
}
HEADS = ("GPUs of an instance", "scheduler", "inst.", "load", "found", "P", "runs", "requests", "USD/h", "USD/Mtok")


def plan_page(folder: Path) -> str:
    """Return the page of a folder that `llmsim plan` has written; InputError if it is none."""
    plan = stored(folder / PLAN_FILE)
    sliders = what_if.section(_what_if(plan, stored(folder / OTHER_BOUNDS)))
    sections = [
        html.section("Another SLO, confidence or price", *sliders),
        html.section("What was looked at", *_looked_at(plan)),
        html.section("What binds", *_bound(plan)),
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


def _looked_at(plan: Mapping[str, Any]) -> Iterator[Html]:
    yield html.table(HEADS, (_row(one) for one in plan["evaluations"]), words=2)
    for words in plan["left_out"]:
        yield element("p", f"Left out: {words}", class_="quiet")


def _row(one: Mapping[str, Any]) -> tuple[object, ...]:
    probability = "–" if one["probability"] is None else f"{one['probability']:.3f}"
    tokens = one["usd_per_million_tokens"]
    counts = (f"{one['seeds']}", f"{one['requests']:,}", f"{one['usd_per_hour']:,.2f}", number_text(tokens))
    return (_hardware(one), one["scheduler"], one["instances"], _load(one), _said(one), probability, *counts)


def _said(one: Mapping[str, Any]) -> str:
    """Overloaded, too short, or the answer."""
    kind = str(one["reason"]).partition(":")[0]
    return kind if kind in (OVERLOADED, TOO_SHORT, UNSERVED) else str(one["answer"])


def _hardware(one: Mapping[str, Any]) -> str:
    size = one["tensor_parallel_size"]
    return str(one.get("unit") or f"{one['gpu']}{f' TP{size}' if size > 1 else ''}")


def _load(one: Mapping[str, Any]) -> str:
    return f"{one[RATE]:g}/s" if RATE in one else f"{one[USERS]:g} users"


def _bound(plan: Mapping[str, Any]) -> Iterator[Html]:
    """What each candidate has least of, at the size or load that shows it."""
    rows = []
    for one in plan["candidates"]:
        if (binds := one["binds"]) is not None:
            shares = Binding(**{name: binds[name] for name in Binding.__slots__})
            rows.append((f"{_group(one)}: {binds['instances']} at {_load(binds)}", str(shares)))
    yield html.pairs(rows)


def _what_if(plan: Mapping[str, Any], beside: Mapping[str, Any]) -> WhatIf:
    """What the sliders choose among: each cluster that was looked at."""
    targets = tuple(Target(**target) for target in beside["targets"])
    groups = {words: i for i, words in enumerate(dict.fromkeys(map(_group, plan["evaluations"])))}
    pairs = zip(plan["evaluations"], beside["clusters"], strict=True)
    options = tuple(_option(plan, one, cluster, groups) for one, cluster in pairs)
    rates = [t.metric for t in targets if t.of_slo and (is_form(t.metric) or kpi_of(t.metric).unit != "share")]
    return WhatIf(
        plan["find"],
        ("GPUs of an instance", "inst.", "load"),
        targets,
        options,
        _prices(plan),
        plan["confidence"],
        plan["command"],
        beside["given"],
        f"{rates[0]} depends on them, and was not kept for others" if rates else "",
    )


def _option(
    plan: Mapping[str, Any], one: Mapping[str, Any], cluster: Mapping[str, Any], groups: Mapping[str, int]
) -> Option:
    by_load, n = plan["find"] == "load", one["instances"]
    carry = "carries" if n == 1 else "carry"
    return Option(
        f"{n} x {_hardware(one)} {carry} {_load(one)}",
        _load(one) if by_load else str(n),
        (_group(one), n, _load(one)),
        cluster["gpus"],
        tuple(cluster["found"]),
        None if cluster["steady"] else _said(one),
        groups[_group(one)],
        _amount(one) if by_load else n,
        by_load,
        cluster["output_tokens_per_s"],
    )


def _amount(one: Mapping[str, Any]) -> float:
    return float(one[RATE] if RATE in one else one[USERS])


def _group(one: Mapping[str, Any]) -> str:
    return f"{_hardware(one)}, {one['scheduler']}"


def _prices(plan: Mapping[str, Any]) -> dict[str, float]:
    return {one["gpu"]: one["price_usd_per_gpu_hour"] for one in plan["candidates"]}
