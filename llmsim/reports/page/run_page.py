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
from llmsim.metrics.catalogue import select
from llmsim.metrics.score import Score
from llmsim.metrics.sections.throughput import Throughput
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.metrics.window import run_end_s
from llmsim.reports.format import kpi_text
from llmsim.reports.page import html
from llmsim.reports.page.html import Html, element
from llmsim.reports.page.timeline import SCRIPT, timeline, timeline_data
from llmsim.reports.plots.sweep_panels import usd_per_hour
from llmsim.reports.tables import audit_tables, latency_table
from llmsim.reports.tables.outcome_rows import outcome_rows
from llmsim.reports.tables.setting import setting
from llmsim.scenario import Scenario, ServeGenWorkload, TraceWorkload
from llmsim.statistics import STEADY

#: an audit goes through every token several times: a run of more takes longer than a page may
AUDITED_TOKENS = 10_000_000
#: file that `llmsim run` writes -> what it shows
PICTURES = {
    "latencies.png": "How long users waited: shares of requests (TTFT, TPOT) and of all gaps (ITL).",
    "load.png": "How busy the instances were: requests that run and wait, and KV memory.",
    "timelines.png": "When some of the users got their tokens, against how fast they read.",
}
#: the same, of runs whose instances come and go
MORE_PICTURES = {"instances.png": "The load, the instances that it called up, and what they cost."}
#: KPIs of the cards at the top
CARD_KEYS = ("slo.attainment", "slo.goodput_tokens_per_s", "smooth_goodput_tokens_per_s", "output_tokens_per_s")
#: those before them, beside the bound of the SLO on each
BOUNDED_KEYS = {"ttft_s.p99": "ttft_s", "tbt_s.p99": "tbt_s"}
VERDICT_CLASS = {"steady": "good", "overloaded": "bad", "too short": "doubt", "nothing served": "bad"}


def run_page(folder: Path) -> str:
    """Return the page of a folder that `llmsim run` has written; InputError if it is none."""
    scenario, score = experiment.read_scenario(folder), experiment.read_score(folder)
    title = f"{scenario.name}: a simulated run"
    return html.document(
        title,
        element("h1", scenario.name),
        element("p", setting(scenario)),
        verdict(score.find(RunVerdict)),
        cards(score, scenario),
        html.section("What happened when", *_timeline(folder, scenario)),
        html.section("Latencies", *_latencies(score)),
        html.section("What was served", html.pairs((name.strip(), words) for name, words in outcome_rows(score))),
        html.section("Pictures", *_pictures(folder, scenario), *_of_this_run_only(score)),
        html.section("Could these numbers be gamed?", *_audit(folder, scenario, score)),
        html.section("The scenario", scenario_table(scenario.model_dump(mode="json"))),
        html.section("Run it again", *_again(folder, scenario)),
        script=SCRIPT,
    )


def _timeline(folder: Path, scenario: Scenario) -> Iterator[Html]:
    """The run over time, to go through with a slider."""
    record = experiment.read_record(folder)
    yield timeline(timeline_data(scenario, record, experiment.delivered(scenario, record)))
    yield element("p", "Move the slider to see what ran, and which tokens were there, at a time.", class_="quiet")


def verdict(verdict: RunVerdict | None) -> Html:
    """Whether the run may speak of a steady state, and why."""
    if verdict is None:
        return element("p", "This result has no verdict: it was made before llmsim gave one.", class_="verdict doubt")
    tails = ""
    if verdict.withheld:
        tails = " P99s are withheld: they would tell of how long the run was, not of the system."
    elif verdict.forced:
        tails = " P99s marked * are shown by force; do not rely on them."
    words = element("b", experiment.ANSWERS.get(verdict.answer, verdict.answer).capitalize())
    colour = VERDICT_CLASS.get(verdict.answer, "doubt")
    return element("div", words, f": {verdict.reason}.{tails}", class_=f"verdict {colour}")


def cards(score: Score, scenario: Scenario) -> Html:
    """The numbers that one looks for first."""
    shown = [
        element("div", element("b", value), element("span", words), class_="card")
        for value, words, _ in card_values(score, scenario)
    ]
    return element("div", *shown, class_="cards")


def card_values(score: Score, scenario: Scenario) -> list[tuple[str, str, bool]]:
    """P99s beside their SLO, goodput, cost: value, what it is, and whether it misses the SLO."""
    shown = []
    for kpi in select(*BOUNDED_KEYS):
        bound_s, value = getattr(scenario.slo, BOUNDED_KEYS[kpi.key]), _value(score, kpi.key)
        slo = "" if bound_s is None else f", SLO {kpi_text(kpi, bound_s)}"
        missed = bound_s is not None and value is not None and value > bound_s
        told = "withheld" if value is None else kpi_text(kpi, value)
        shown.append((told, f"{kpi.name}{slo}", missed))
    for kpi in select(*CARD_KEYS):
        unit = "tok/s" if kpi.unit == "tokens/s" else None
        shown.append((kpi_text(kpi, _value(score, kpi.key), unit), kpi.name, False))
    usd, rate = usd_per_hour(scenario), _value(score, "output_tokens_per_s")
    if usd is not None and rate:
        shown.append((f"{usd / 3600 / rate * 1e6:.3g} USD", "a million output tokens, by list prices", False))
    return shown


def _value(score: Score, key: str) -> float | None:
    """A KPI of the score; None where its section does not apply."""
    first = key.partition(".")[0]
    value: float | None = None if score[first] is None else score[key]
    return value


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


def _latencies(score: Score) -> Iterator[Html]:
    yield html.table(("", *latency_table.COLUMN_HEADS), list(latency_table.latency_rows(score)))
    if note := latency_table.estimate_note(score):
        yield element("p", note, class_="quiet")


def _pictures(folder: Path, scenario: Scenario) -> Iterator[Html]:
    pictures = PICTURES if scenario.autoscaling is None else PICTURES | MORE_PICTURES
    there = [(folder / name, words) for name, words in pictures.items() if (folder / name).is_file()]
    for file, words in there:
        yield html.picture(file, words)
    if len(there) < len(pictures):
        lacking = [name for name in pictures if not (folder / name).is_file()]
        yield element("p", f"Not in the folder: {', '.join(lacking)}.", class_="quiet")


def _of_this_run_only(score: Score) -> Iterator[Html]:
    verdict = score.find(RunVerdict)
    if verdict is not None and verdict.answer != STEADY:
        words = (
            "Pictures and audit show what the requests of this run met, P99s included: no forecast of any other run."
        )
        yield element("p", words, class_="quiet")


def _audit(folder: Path, scenario: Scenario, score: Score) -> Iterator[Html]:
    """What the audit warns of, or why there is none."""
    tokens = score.section(Throughput).output_tokens
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
    yield element("ul", *(element("li", line) for line in audit_tables.findings(made)))
    yield html.folded(
        "Every metric, as is and manipulated",
        _audit_table(made),
        element("p", audit_tables.METRICS_NOTE, class_="quiet"),
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
        unit = f", {row.metric.shown_unit}" if row.metric.shown_unit else ""
        cells: list[object] = []
        for key in made.users:
            change = row.after[key]
            said = "gameable" if change.gameable else "better" if change.improves else "worse"
            moved = change.direction in ("up", "down")
            value = f"{audit_tables.audit_number(change.value, row.metric.shown_unit)} {said}" if moved else "="
            cells.append(element("span", value, class_="gamed") if change.gameable else value)
        rows.append((f"{row.metric.name}{unit}", audit_tables.audit_number(row.as_is, row.metric.shown_unit), *cells))
    return html.table(("", "as is", *(audit_tables.MANIPULATION_HEADS.get(key, key) for key in made.users)), rows)


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
