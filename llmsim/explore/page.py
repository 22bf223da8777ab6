"""The page itself: controls beside what they lead to."""

from __future__ import annotations

from pathlib import Path

from llmsim.explore.answers import Question
from llmsim.reports.page import html
from llmsim.reports.page.html import Html, element, in_script
from llmsim.reports.page.timeline import SCRIPT, panels

EXPLORE_SCRIPT = (Path(__file__).parent / "explore.js").read_text(encoding="utf-8")
STYLE = """
.controls { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 0.4rem 1.2rem; }
.controls label { display: grid; grid-template-columns: 1fr auto; font-size: 0.9rem; color: var(--quiet); }
.controls input, .controls select { grid-column: 1 / -1; width: 100%; font: inherit; }
.controls b { color: var(--ink); font-variant-numeric: tabular-nums; }
.missed b { color: var(--bad); } .busy { opacity: 0.6; }
"""


def explore_page(question: Question, token: str) -> str:
    """Return the page, which asks its server for everything else."""
    data = {"controls": [control.to_dict() for control in question.controls], "token": token}
    return html.document(
        f"llmsim explore {question.name}",
        element("style", Html(STYLE)),
        element("h1", question.name),
        element("div", id="controls", class_="controls"),
        element("div", "simulating", id="verdict", class_="verdict doubt"),
        element("div", id="cards", class_="cards"),
        panels(),
        element("p", id="more", class_="quiet"),
        html.section(
            "The same from the command line",
            element("pre", element("code", "", id="command")),
            element("button", "copy", id="copy", type="button"),
            element("label", " save as ", element("input", id="name", value="explored.toml", size="24")),
            element("button", "save", id="save", type="button"),
            element("output", "", id="saved"),
        ),
        element("script", in_script(data), id="explore", type="application/json"),
        script=f"{SCRIPT}\n{EXPLORE_SCRIPT}",
        connect="; connect-src 'self'",
    )
