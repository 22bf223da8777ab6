"""The page of a comparison: what differs and how surely, which requests pay, what became of the conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmsim.experiment import ANSWERS, P99S_WITHHELD
from llmsim.metrics.catalogue import kpi_of
from llmsim.reports.format import digits_text
from llmsim.reports.page import html
from llmsim.reports.page.html import Html, element
from llmsim.reports.page.run_page import scenario_table
from llmsim.reports.page.stored import stored
from llmsim.reports.page.timeline import SCRIPT
from llmsim.reports.plots.comparison_plots import DIFFERENCES, MOST_CHANGED, WHO_PAYS
from llmsim.reports.tables.compare_tables import (
    COVERAGE_NOTES,
    chosen,
    group_cells,
    relative_text,
    shown_name,
    value_text,
    verdict_text,
)
from llmsim.studies.compare import COMPARISON_FILE, Difference, Group

PICTURES = {
    DIFFERENCES: "Relative differences with their 95 % intervals: green where better for sure, red where worse.",
    WHO_PAYS: "For classes of requests, the share that gains and the share that pays.",
    MOST_CHANGED: "Tokens of the requests that changed most, on both sides.",
}


def compare_page(folder: Path) -> str:
    """Return the page of a folder that `llmsim compare` has written; InputError if it is none."""
    said = stored(folder / COMPARISON_FILE)
    first = said["sides"][0]
    return html.document(
        f"{first['scenario']['name']}: a comparison",
        element("h1", first["scenario"]["name"]),
        element("p", f"A comparison of {len(said['sides'])} sides on the same requests, {_seeds(said)}."),
        *(_condition(answer) for answer in said["conditions"]),
        html.pairs((f"{side['label']}: {side['name']}", _verdicts(side)) for side in said["sides"]),
        *(part for one in said["against"] for part in _against(said, one)),
        *(element("p", note, class_="quiet") for note in said["notes"]),
        html.section("Pictures", *html.pictures(folder, PICTURES)),
        html.section(f"The scenario of {first['label']}", scenario_table(first["scenario"])),
        script=SCRIPT,
    )


def _seeds(said: Mapping[str, Any]) -> str:
    count = len(said["seeds"])
    return f"with {count} seeds" if count > 1 else "with one seed"


def _condition(answer: Mapping[str, Any]) -> Html:
    word, colour = ("Could not tell", "doubt") if answer["untold"] else ("Passed", "good")
    if answer["failed"]:
        word, colour = "Failed", "bad"
    said = f": {answer['condition']}, {answer['side']}: {answer['words']}"
    return element("div", element("b", word), said, class_=f"verdict {colour}")


def _verdicts(side: Mapping[str, Any]) -> str:
    counts = Counter(verdict["answer"] for verdict in side["verdicts"])
    if len(side["verdicts"]) == 1:
        return f"{ANSWERS[next(iter(counts))]}, {side['verdicts'][0]['reason']}"
    return ", ".join(f"{ANSWERS[name]} in {n} of {len(side['verdicts'])} seeds" for name, n in counts.items())


def _against(said: Mapping[str, Any], one: Mapping[str, Any]) -> Iterator[Html]:
    first, names = said["sides"][0], {side["label"]: side["name"] for side in said["sides"]}
    rows = [Difference.from_dict(row) for row in one["differences"]]
    shown = list(chosen({row.metric: row for row in rows}))
    covers = next((row.covers for row in shown if row.covers is not None), None)
    heads = ("metric", first["label"], one["side"], "difference", "relative", "")
    parts = [html.table(heads, map(_row, shown)), element("p", f"{COVERAGE_NOTES[covers]}.", class_="quiet")]
    if any(row.caution and row.interval is None for row in shown):
        parts.append(element("p", f"{P99S_WITHHELD}: not all runs are steady.", class_="quiet"))
    if one["groups"]:
        groups = map(Group.from_dict, one["groups"])
        table = html.table(("requests", "n", "gain", "pay", "TTFT, ms", "E2E, ms"), map(group_cells, groups))
        parts.append(
            html.folded("Which requests gain, and which pay", table, element("p", GROUPS_NOTE, class_="quiet"))
        )
    title = f"{one['side']} ({names[one['side']]}) against {first['label']} ({first['name']})"
    yield html.section(title, *parts)


GROUPS_NOTE = (
    "Gain, pay: last token over 1 % earlier or later, or finished on one side only; lengths in tokens; changes are "
    "means over the requests that have them on both sides."
)


def _row(row: Difference) -> tuple[object, ...]:
    word = str(verdict_text(row))
    change = (
        "–" if row.interval is None else digits_text(kpi_of(row.metric).factor * row.interval.estimate, signed=True)
    )
    said: object = element("span", word, class_="gamed") if word == "worse" else word
    values = (value_text(row, value) for value in (row.first, row.other))
    return (shown_name(row.metric), *values, change, relative_text(row.relative), said)
