"""The page of an audit: what it found in words, every metric as is and manipulated, and what is left of a claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsim.metrics.audit import Change, Gain
from llmsim.reports.page import html
from llmsim.reports.page.html import Html, element
from llmsim.reports.page.stored import stored
from llmsim.reports.page.timeline import SCRIPT
from llmsim.reports.tables.audit_tables import METRICS_NOTE, audit_heads, audit_number, gain_cells, with_unit
from llmsim.studies.audit_folder import AUDIT_FILE, audits_of

PICTURES = {"audit.png": "Metrics as they are and manipulated; what can be gamed is marked."}


def audit_page(folder: Path) -> str:
    """Return the page of a folder that `llmsim audit --out` has written; InputError if it is none."""
    said = stored(folder / AUDIT_FILE)
    audits = audits_of(said)
    gains = [Gain.from_dict(one) for one in said.get("difference", ())]
    names = " and ".join(str(one["name"]) for one in audits)
    return html.document(
        f"{names}: an audit",
        element("h1", names),
        element("p", "Which of its metrics could be improved without any request being served better."),
        *(html.section("What was found" if len(audits) == 1 else str(one["name"]), *_audit(one)) for one in audits),
        *([html.section("What is claimed", _claimed(gains))] if gains else []),
        html.section("Pictures", *html.pictures(folder, PICTURES)),
        script=SCRIPT,
    )


def _audit(one: Mapping[str, Any]) -> Iterator[Html]:
    yield element("ul", *(element("li", line) for line in one["words"]))
    keys = list(one["users"])
    rows = ((with_unit(row["words"], row["unit"]), *_cells(row, keys)) for row in one["metrics"])
    yield html.table(("metric", "as is", *audit_heads(keys)), rows)
    yield element("p", METRICS_NOTE, class_="quiet")


def _cells(row: Mapping[str, Any], keys: list[str]) -> Iterator[object]:
    yield audit_number(row["as_is"], row["unit"])
    for key in keys:
        change = Change(**row[key])
        if change.direction not in ("up", "down"):
            yield "="
            continue
        said = "gameable" if change.gameable else "better" if change.improves else "worse"
        value = f"{audit_number(change.value, row['unit'])} {said}"
        yield element("span", value, class_="gamed") if change.gameable else value


def _claimed(gains: Sequence[Gain]) -> Html:
    """Of each gain, the share that the first would show by manipulation alone."""
    heads = ("metric that is better", "from", "to", *audit_heads(list(gains[0].share)))
    return html.table(heads, map(gain_cells, gains))
