"""A comparison for a pull request (Markdown) and for a CI's list of checks (JUnit XML)."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from llmsim.reports.tables.compare_tables import relative_text, shown_name, shown_rows, value_text, verdict_text
from llmsim.studies.compare import Against, Comparison, withheld
from llmsim.studies.compare.conditions import Answer


def markdown(comparison: Comparison, *, force: bool = False) -> str:
    """A table for each side against the first, and what became of the conditions."""
    lines: list[str] = []
    for one in comparison.others:
        lines += [f"### {_plain(str(one.side))} against {_plain(str(comparison.first))}", ""]
        lines += ["| metric | first | other | relative | |", "|---|---:|---:|---:|---|"]
        lines += [*_rows(one, force), ""]
    lines += [f"* **{outcome(answer)}**: `{answer.condition.text}`, {answer.words}" for answer in comparison.answers]
    lines += [f"* note: {_plain(note)}" for note in comparison.notes]
    return "\n".join(lines).rstrip() + "\n"


def outcome(answer: Answer) -> str:
    """What became of a condition, in a word or three."""
    return "FAILED" if answer.failed else "could not tell" if answer.untold else "passed"


def junit(comparison: Comparison) -> str:
    """One test case for each condition and side: failed, or in error where it could not be judged."""
    answers = comparison.answers
    counts = {"failures": sum(one.failed for one in answers), "errors": sum(one.untold for one in answers)}
    attributes = {name: str(count) for name, count in counts.items()}
    suite = ElementTree.Element("testsuite", {"name": "llmsim compare", "tests": str(len(answers)), **attributes})
    for answer in answers:
        case = ElementTree.SubElement(suite, "testcase", {"classname": answer.side, "name": answer.condition.text})
        kind = "failure" if answer.failed else "error" if answer.untold else "system-out"
        said = ElementTree.SubElement(case, kind, {} if kind == "system-out" else {"message": answer.words})
        said.text = answer.words
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _rows(one: Against, force: bool) -> Iterator[str]:
    for row in shown_rows(one):
        if withheld(row, force=force):
            yield f"| {shown_name(row.metric)} | – | – | – | |"
            continue
        values = (value_text(row, side) for side in (row.first, row.other))
        word = str(verdict_text(row))
        yield f"| {shown_name(row.metric)} | {' | '.join(values)} | {relative_text(row.relative)} | {word} |"


def _plain(text: str) -> str:
    return text.replace("|", "\\|")
