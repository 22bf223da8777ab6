"""The page of one run: what was asked, whether to believe the answer, numbers, pictures, and how to run it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import llmsim
from llmsim import discovery, experiment
from llmsim.errors import InputError
from llmsim.latency.build import SOURCES
from llmsim.metrics.audit import Audit, audit
from llmsim.metrics.window import run_end_s
from llmsim.reports.page import html
from llmsim.reports.page.html import Html, element
from llmsim.reports.tables import audit as report_audit
from llmsim.reports.tables import run as report
from llmsim.scenario import Scenario, ServeGenWorkload, TraceWorkload

#: an audit goes through every token several times: a run of more takes longer than a page may
AUDITED_TOKENS = 10_000_000
#: file that `llmsim run` writes -> what it shows
PICTURES = {
    "latencies.png": "How long users waited: shares of requests (TTFT, TPOT) and of all gaps (TBT).",
    "load.png": "How busy the instances were: requests that run and wait, and KV memory.",
    "timelines.png": "When some of the users got their tokens, against how fast they read.",
}
#: the same, of runs whose instances come and go
MORE_PICTURES = {"instances.png": "The load, the instances that it called up, and what they cost."}
VERDICT_CLASS = {"steady": "good", "overloaded": "bad", "too short": "doubt", "nothing served": "bad"}


def run_page(folder: Path) -> str:
    """Return the page of a folder that `llmsim run` has written; InputError if it is none."""
    scenario, score = experiment.read_scenario(folder), experiment.read_score(folder)
    title = f"{scenario.name}: a simulated run"
    return html.document(
        title,
        element("h1", scenario.name),
        element("p", report.setting(scenario)),
        verdict(score),
        cards(score),
        html.section("Latencies", _latencies(score)),
        html.section(
            "What was served", html.pairs((name.strip(), words) for name, words in report.outcome_rows(score))
        ),
        html.section("Pictures", *_pictures(folder, scenario), *_of_this_run_only(score)),
        html.section("Could these numbers be gamed?", *_audit(folder, scenario, score)),
        html.section("The scenario", scenario_table(scenario.model_dump(mode="json"))),
        html.section("Run it again", *_again(folder, scenario)),
    )


def verdict(score: Mapping[str, Any]) -> Html:
    """Whether the run may speak of a steady state, and why."""
    judged = score.get("verdict")
    if judged is None:
        return element("p", "This result has no verdict: it was made before llmsim gave one.", class_="verdict doubt")
    answer = judged["answer"]
    tails = ""
    if judged.get("withheld"):
        tails = " P99s are withheld: they would tell of how long the run was, not of the system."
    elif judged.get("forced"):
        tails = " P99s marked * are shown by force; do not rely on them."
    words = element("b", experiment.ANSWERS.get(answer, answer).capitalize())
    return element(
        "div", words, f": {judged['reason']}.{tails}", class_=f"verdict {VERDICT_CLASS.get(answer, 'doubt')}"
    )


def cards(score: Mapping[str, Any]) -> Html:
    """The numbers that one looks for first."""
    slo = score["slo"] or {}
    attainment = slo.get("attainment")
    shown = (
        ("–" if attainment is None else f"{100 * attainment:.2f} %", "SLO attainment"),
        (f"{report.plain(slo.get('goodput_tokens_per_s'))} tok/s", "goodput"),
        (f"{report.plain(score['smooth_goodput_tokens_per_s'])} tok/s", "smooth goodput"),
        (f"{report.plain(score['output_tokens_per_s'])} tok/s", "throughput"),
    )
    return element(
        "div",
        *(element("div", element("b", value), element("span", words), class_="card") for value, words in shown),
        class_="cards",
    )


def scenario_table(values: Mapping[str, Any]) -> Html:
    """Every field of a scenario that has a value, and all of it as JSON, which `llmsim run` takes."""
    return html.escaped(
        html.pairs(
            (
                (html.breakable(name), _as_written(value))
                for name, value in _flat(values)
                if value not in (None, {}, [])
            ),
            "tight",
        ),
        html.folded("All of it, as a file that llmsim run takes (JSON)", html.command(json.dumps(values, indent=2))),
    )


def _as_written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _latencies(score: Mapping[str, Any]) -> Html:
    forced = score.get("verdict", {}).get("forced", ())
    rows = []
    for key, (words, scale) in report.LATENCIES.items():
        row = score.get(key)
        if row is not None:
            values = (
                report.plain(None if row[q] is None else row[q] / scale) + ("*" if f"{key}.{q}" in forced else "")
                for q in report.QUANTILES
            )
            rows.append((words, *values, report.plain(row["n"])))
    return html.table(("", *report.QUANTILES, "n"), rows)


def _pictures(folder: Path, scenario: Scenario) -> Iterator[Html]:
    pictures = PICTURES if scenario.autoscaling is None else PICTURES | MORE_PICTURES
    there = [(folder / name, words) for name, words in pictures.items() if (folder / name).is_file()]
    for file, words in there:
        yield html.picture(file, words)
    if len(there) < len(pictures):
        lacking = [name for name in pictures if not (folder / name).is_file()]
        yield element("p", f"Not in the folder: {', '.join(lacking)}.", class_="quiet")


def _of_this_run_only(score: Mapping[str, Any]) -> Iterator[Html]:
    if score.get("verdict", {}).get("answer", "steady") != "steady":
        words = (
            "Pictures and audit show what the requests of this run met, P99s included: no forecast of any other run."
        )
        yield element("p", words, class_="quiet")


def _audit(folder: Path, scenario: Scenario, score: Mapping[str, Any]) -> Iterator[Html]:
    """What the audit warns of, or why there is none."""
    tokens = score["output_tokens"]
    by_hand = f"llmsim audit {shlex.quote(folder.resolve().name)}"
    if tokens > AUDITED_TOKENS:
        yield element("p", f"Not audited: {tokens:,} tokens are too many for a page to wait for. By hand: {by_hand}")
        return
    record = experiment.read_record(folder)
    delivered = experiment.delivered(scenario, record)
    try:
        made = audit(
            delivered,
            slo=experiment.make_slo(scenario),
            user=experiment.make_user(scenario),
            window=experiment.make_window(scenario),
            end_s=max(record.end_s, run_end_s(delivered)),
        )
    except InputError as error:
        yield element("p", f"No audit: {error}.")
        return
    yield element("ul", *(element("li", line) for line in report_audit.words(made)))
    yield html.folded(
        "Every metric, as is and manipulated", _audit_table(made), element("p", report_audit.NOTE, class_="quiet")
    )
    yield element(
        "p",
        "Tokens delayed and requests dropped are worked out from this result. What a server gains that gives up on "
        "requests would have to be simulated: llmsim audit SCENARIO does.",
        class_="quiet",
    )


def _audit_table(made: Audit) -> Html:
    rows = []
    for row in made.rows:
        unit = f", {row.metric.unit}" if row.metric.unit else ""
        cells: list[object] = []
        for key in made.users:
            change = row.after[key]
            said = "gameable" if change.gameable else "better" if change.improves else "worse"
            moved = change.direction in ("up", "down")
            value = f"{report_audit.plain(change.value, row.metric.unit)} {said}" if moved else "="
            cells.append(element("span", value, class_="gamed") if change.gameable else value)
        rows.append((f"{row.metric.words}{unit}", report_audit.plain(row.as_is, row.metric.unit), *cells))
    return html.table(("", "as is", *(report_audit.HEADS.get(key, key) for key in made.users)), rows)


def _again(folder: Path, scenario: Scenario) -> Iterator[Html]:
    name = folder.resolve().name
    words = ["llmsim", "run", f"{name}/{experiment.SCENARIO_FILE}", "--out", f"{name}-again"]
    parts = (
        ("scheduler", "llmsim.schedulers", scenario.scheduler.name),
        ("latency", SOURCES, scenario.cluster.latency.name),
    )
    own = [(kind, name) for kind, package, name in parts if name not in discovery.names(package)]
    for kind, name in own:
        words += [f"--{kind}-file", f"{name}.py"]
    yield element("p", "In the folder that holds ", element("code", f"{name}/"), f", with llmsim {llmsim.__version__}:")
    yield html.command(shlex.join(words))
    yield element("p", "The same version gives the same numbers to the last bit.")
    for kind, name in own:
        what = "scheduler" if kind == "scheduler" else "source of step times"
        yield element("p", f"The {what} {name} is not one that llmsim ships: give its file.")
    if isinstance(scenario.workload, TraceWorkload | ServeGenWorkload):
        key = "trace" if isinstance(scenario.workload, TraceWorkload) else "servegen"
        what = "trace" if key == "trace" else "ServeGen clients"
        yield element(
            "p", f"It reads the {what} ", element("code", getattr(scenario.workload, key)),
            f", as seen from where it was first run; elsewhere, say where it is: --set workload.{key}=PATH",
        )  # fmt: skip
