"""Sliders for SLO, confidence and prices: which of the stored clusters to take then, worked out in the browser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmsim.metrics.catalogue import kpi_of
from llmsim.reports.format import kpi_text, number_text
from llmsim.reports.page.html import Html, element, in_script
from llmsim.slo import bound_name
from llmsim.studies.plan.other_bounds import OfTarget
from llmsim.studies.plan.targets import Target

SCRIPT = (Path(__file__).parent / "what_if.js").read_text(encoding="utf-8")
CONFIDENCES = (0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
SHARES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999)
#: steps of a price, and its largest multiple
PRICE_STEPS, MOST_PRICE = 60, 3.0
#: a price of nothing has no multiples
PRICE_OF_FREE = 1.0
#: multiples of a number over which it is moved, of targets that are means and rates
MULTIPLES = (0.35, 0.42, 0.5, 0.59, 0.71, 0.84, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8)

NOTE = (
    "Nothing is simulated here: the runs that were made are judged anew. Their requests were counted at every step of "
    "the sliders ({}), so that no answer is interpolated. There are as many runs, as long, as the first question took: "
    "what they cannot tell is called undecided. The command below asks anew."
)
NO_BOUNDS = "The bounds of the SLO stay as they are: {}."


@dataclass(frozen=True, slots=True)
class Knob:
    """A slider: the values that it steps through, as shown, and where it begins."""

    key: str
    label: str
    steps: tuple[float, ...]
    said: tuple[str, ...]
    at: int
    bound: bool = False  #: of the scenario's [slo]
    target: bool = False  #: of the plan's targets


@dataclass(frozen=True)
class Option:
    """A cluster at a load, or a point of a sweep, and what its runs say of other bounds."""

    name: str  #: as the answer says it
    short: str
    cells: tuple[object, ...]  #: of the table, before cost, probability and answer
    gpus: Mapping[str, int]
    found: tuple[OfTarget, ...]  #: one a target
    why: str | None  #: why nothing can be judged: overloaded, too short
    group: int = 0
    size: float = 0.0  #: instances, or the load
    load: bool = False  #: the size is a load
    tokens_per_s: float | None = None


@dataclass(frozen=True)
class WhatIf:
    """All that the sliders choose among."""

    kind: str  #: "instances", "load" or "sweep"
    heads: tuple[object, ...]
    targets: tuple[Target, ...]
    options: tuple[Option, ...]
    prices: Mapping[str, float]
    confidence: float
    command: str
    given: bool = False
    fixed: str = ""  #: why the bounds of the SLO cannot be moved


def section(asked: WhatIf) -> Iterator[Html]:
    """Yield sliders, the answer, and the table that they judge."""
    asked = _with_one_grid(asked)
    knobs = list(_knobs(asked))
    yield element("div", *(_slider(i, knob) for i, knob in enumerate(knobs)), class_="knobs")
    yield element("p", "The sliders need a browser that runs the script in this page.", id="what-if-answer")
    yield _table(asked)
    steps = "; ".join(
        f"{knob.label} {knob.said[0]} to {knob.said[-1]} in {len(knob.steps)} steps"
        for knob in knobs
        if knob.bound or knob.target
    )
    yield element("p", NOTE.format(steps or "none"), class_="quiet")
    if asked.fixed:
        yield element("p", NO_BOUNDS.format(asked.fixed), class_="quiet")
    yield element("pre", element("code", asked.command, id="what-if-command"))
    yield element("script", in_script(_data(asked, knobs)), id="what-if-data", type="application/json")


def _with_one_grid(asked: WhatIf) -> WhatIf:
    """Leave the bounds of the SLO where they are, if they cannot be moved for all alike."""
    fixed = asked.fixed or ("" if _alike(asked) else "they differ from point to point")
    if not fixed:
        return asked
    options = (
        replace(option, found=tuple(map(_asked_only, asked.targets, option.found))) if option.found else option
        for option in asked.options
    )
    return replace(asked, options=tuple(options), fixed=fixed)


def _alike(asked: WhatIf) -> bool:
    judged = [option.found for option in asked.options if option.found]
    return all(
        all(found[place].bounds == judged[0][place].bounds for found in judged)
        for place, target in enumerate(asked.targets)
        if target.of_slo
    )


def _asked_only(target: Target, found: OfTarget) -> OfTarget:
    """What was found at the bounds of the SLO that were asked for."""
    return found.asked_only() if target.of_slo else found


def _knobs(asked: WhatIf) -> Iterator[Knob]:
    """The sliders: bounds of the SLO, of the targets, confidence, prices."""
    seen = set()
    for place, target in enumerate(asked.targets):
        bounds = next((option.found[place].bounds for option in asked.options if option.found), {})
        for name, steps in bounds.items():
            key = f"slo.{name}" if target.of_slo else name
            if key not in seen:
                seen.add(key)
                yield _of_bound(key, steps, target)
        if target.metric not in seen:
            seen.add(target.metric)
            yield _of_number(target)
    yield _among("confidence", "confidence", CONFIDENCES, asked.confidence)
    for gpu, price in asked.prices.items():
        yield _of_price(gpu, price)


def _of_bound(key: str, steps: tuple[float, ...], target: Target) -> Knob:
    said = tuple(f"{number_text(1000 * step)} ms" for step in steps)
    middle, of_slo = len(steps) // 2, target.of_slo
    label = f"SLO: {bound_name(key.removeprefix('slo.'))} at most" if of_slo else f"{_name(key)} at most"
    return Knob(key, label, steps, said, middle, bound=of_slo, target=not of_slo)


def _name(metric: str) -> str:
    """A metric in words, also a percentile that no table has."""
    table, _, number = metric.partition(".")
    return f"{bound_name(table)} {number.upper()}" if table.endswith("_s") else kpi_of(metric).name


def _of_number(target: Target) -> Knob:
    """The bound of an attainment, a mean or a rate."""
    label = f"{_name(target.metric)} {'at least' if target.at_least else 'at most'}"
    is_time = not target.at_least
    if not is_time and kpi_of(target.metric).unit == "share":
        return replace(_among(target.metric, label, SHARES, target.bound), target=True)
    steps = tuple(float(f"{multiple * target.bound:.2g}") if multiple != 1 else target.bound for multiple in MULTIPLES)
    said = tuple(f"{number_text(1000 * s)} ms" if is_time else kpi_text(kpi_of(target.metric), s) for s in steps)
    return Knob(target.metric, label, steps, said, MULTIPLES.index(1.0), target=True)


def _among(key: str, label: str, usual: Iterable[float], asked: float) -> Knob:
    steps = tuple(sorted({*usual, asked}))
    return Knob(key, label, steps, tuple(f"{100 * step:g} %" for step in steps), steps.index(asked))


def _of_price(gpu: str, price: float) -> Knob:
    unit = (price or PRICE_OF_FREE) * MOST_PRICE / PRICE_STEPS
    steps = tuple(sorted({price, *(float(f"{i * unit:.3g}") for i in range(PRICE_STEPS + 1))}))
    said = tuple(f"{step:.2f} USD" for step in steps)
    return Knob(f"price {gpu}", f"{gpu}, an hour of one", steps, said, steps.index(price))


def _slider(place: int, knob: Knob) -> Html:
    given = {"min": "0", "max": str(len(knob.steps) - 1), "value": str(knob.at), "step": "1"}
    slider = element("input", id=f"knob{place}", type="range", **given)
    return element("label", element("span", knob.label), slider, element("output", knob.said[knob.at]))


def _table(asked: WhatIf) -> Html:
    heads = (*((head, "") for head in asked.heads), ("USD/h", "n"), ("P", "n"), ("then", ""))
    top = element("tr", *(element("th", head, class_=kind) for head, kind in heads))
    rows = (
        element(
            "tr",
            *(element("td", cell) for cell in option.cells),
            *(element("td", "", class_=kind) for kind in ("n usd", "n p", "said")),
            id=f"option{place}",
        )
        for place, option in enumerate(asked.options)
    )
    return element("div", element("table", element("thead", top), element("tbody", *rows)), class_="wide")


def _data(asked: WhatIf, knobs: Sequence[Knob]) -> dict[str, Any]:
    """What the script reads."""
    return {
        "kind": asked.kind,
        "given": asked.given,
        "command": asked.command,
        "knobs": [{name: getattr(knob, name) for name in Knob.__slots__ if name != "label"} for knob in knobs],
        "targets": [
            {**target.to_dict(), "knob": target.metric, "prefix": "slo." if target.of_slo else ""}
            for target in asked.targets
        ],
        "options": [_option_data(option) for option in asked.options],
    }


def _option_data(option: Option) -> dict[str, Any]:
    values = {name: value for name, value in vars(option).items() if name != "cells"}
    return {**values, "found": [one.to_dict() for one in option.found]}
