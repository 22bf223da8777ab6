"""The page of a validation: which targets are met, what was fitted, every number, and why some are missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from llmsim.reports.format import number_text, percent_text
from llmsim.reports.page import html
from llmsim.reports.page.html import Html, element
from llmsim.reports.page.stored import stored
from llmsim.reports.page.timeline import SCRIPT
from llmsim.studies.validation.case_report import Check, Constant, Point, Report, Row
from llmsim.studies.validation.report_folder import REPORT_FILE

#: a longer table is folded
FEW_ROWS = 30
PICTURES = {"validation.png": "Predicted against measured; the diagonal is no error."}


def validation_page(folder: Path) -> str:
    """Return the page of a folder that `llmsim validate --out` has written; InputError if it is none."""
    report = Report.from_dict(stored(folder / REPORT_FILE))
    notes = report.notes or ("Nothing is noted.",)
    return html.document(
        f"{report.case}: predicted against measured",
        element("h1", report.case),
        element("p", report.about),
        _verdict(report.checks),
        html.section("Targets", _checks(report.checks)),
        html.section("Pictures", *html.pictures(folder, PICTURES)),
        html.section("Every number", *_rows(report.rows)),
        html.section("Missed most", html.table(WORST_HEADS, map(_worst, report.worst()))),
        html.section("What was fitted", *_fitted(report.fitted)),
        html.section("Why points are missed", *(element("p", note) for note in notes)),
        script=SCRIPT,
    )


WORST_HEADS = ("point", "measured", "predicted", "error, %")


def _verdict(checks: Sequence[Check]) -> Html:
    met = sum(check.passed for check in checks)
    colour = "good" if met == len(checks) else "bad"
    return element("div", element("b", f"{met} of {len(checks)} targets met."), class_=f"verdict {colour}")


def _checks(checks: Sequence[Check]) -> Html:
    rows = (
        (one.name, "met" if one.passed else element("span", "missed", class_="gamed"),
         f"{one.value:+.3g} {one.unit}", f"{one.limit:g} {one.unit}")
        for one in checks
    )  # fmt: skip
    return html.table(("target", "", "found", "at most"), rows, words=2)


def _rows(rows: Sequence[Row]) -> Iterator[Html]:
    if not rows:
        return
    words = [key for key in rows[0] if isinstance(rows[0][key], str)]
    keys = [*words, *(key for key in rows[0] if key not in words)]
    heads = tuple(key.replace("_", " ") for key in keys)
    table = html.table(heads, (_cells(row, keys) for row in rows), words=len(words))
    yield table if len(rows) <= FEW_ROWS else html.folded(f"{len(rows)} rows", table)


def _cells(row: Row, keys: list[str]) -> tuple[object, ...]:
    return tuple(
        number_text(value) if isinstance(value, int | float | None) else str(value) for value in map(row.get, keys)
    )


def _worst(point: Point) -> tuple[object, ...]:
    values = (f"{number_text(value)} {point.unit}" for value in (point.measured, point.predicted))
    return (f"{point.group}: {point.label}", *values, percent_text(point.error_percent))


def _fitted(constants: Sequence[Constant]) -> Iterator[Html]:
    yield html.pairs((c.name, f"{c.value:.3g} {c.unit}, on {c.fitted_on}") for c in constants)
    if not constants:
        yield element("p", "Nothing.")
