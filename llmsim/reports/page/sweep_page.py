"""The page of a sweep: its axes, what of it is steady, the table, curves and heat maps, and how to run it again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmsim.experiment import ANSWERS, P99S_MARKED
from llmsim.latency.hardware import load_gpu
from llmsim.metrics.moved_bounds import PooledBounds
from llmsim.reports.format import value_text
from llmsim.reports.page import html, what_if
from llmsim.reports.page.html import Html, element
from llmsim.reports.page.run_page import VERDICT_CLASS, scenario_table
from llmsim.reports.page.timeline import SCRIPT
from llmsim.reports.page.what_if import Option, WhatIf
from llmsim.reports.tables import sweep_tables
from llmsim.scenario import Scenario
from llmsim.statistics import OVERLOADED, STEADY, TOO_SHORT, UNSERVED
from llmsim.studies.plan.targets import Target
from llmsim.studies.sweep import CURVES, HEAT_MAPS, Kept, read_kept
from llmsim.studies.sweep.cheapest import CONFIDENCE, MET, gpus_of
from llmsim.studies.sweep.sweep_folder import KeptBeside, WrittenSweep
from llmsim.studies.sweep.sweep_table import SweepRow

PICTURES = {
    CURVES: "Each metric along an axis: means over seeds, with 95 % intervals.",
    HEAT_MAPS: "Each metric over both axes: means over seeds, ± half of the 95 % interval.",
}
NO_SLIDERS = "the scenario has no SLO, or an earlier version of llmsim has kept nothing to judge another by"
#: a longer table is for the file
MOST_ROWS = 200


def sweep_page(folder: Path) -> str:
    """Return the page of a folder that `llmsim sweep` has written, finished or not; InputError if it is none."""
    kept = read_kept(folder)
    written = kept.written
    return html.document(
        f"{written.name}: a sweep",
        element("h1", written.name),
        element("p", f"A sweep over {_axes_in_words(written)}."),
        _verdict(kept),
        html.section("What was found", *_table(kept)),
        html.section("Another SLO, confidence or price", *_what_if(kept)),
        html.section("Pictures", *_pictures(folder, finished=kept.finished)),
        html.section("The axes", html.pairs(_axes(written))),
        html.section("The scenario, at the first point", scenario_table(written.first_scenario)),
        html.section("Could these numbers be gamed?", element("p", NO_AUDIT_NOTE)),
        html.section("Run it again", *_again(folder, written)),
        script=f"{SCRIPT}\n{what_if.SCRIPT}",
    )


NO_AUDIT_NOTE = (
    "A sweep keeps the scores of its points, not their tokens, so that there is nothing to audit here. "
    "llmsim audit SCENARIO --set KEY=VALUE simulates one point and audits it."
)


def _verdict(kept: Kept) -> Html:
    """How many runs are steady, and what stands for the others."""
    answers = Counter(row.verdict for row in kept.rows)
    counts = ", ".join(f"{answers[name]:,} {name}" for name in ANSWERS if answers[name])
    worst = next((name for name in (UNSERVED, OVERLOADED, TOO_SHORT) if answers[name]), STEADY)
    begun = "" if kept.finished else f"Unfinished: {len(kept.rows):,} of {len(kept.written.points):,} runs are done. "
    forced = any(row.verdict != STEADY and row.numbers.get("ttft_s.p99") is not None for row in kept.rows)
    tails = f" {P99S_MARKED}." if forced else " P99s are those of points whose runs are all steady."
    tails = "" if worst == STEADY else tails
    colour = VERDICT_CLASS[worst] if kept.finished else "doubt"
    return element("div", element("b", begun, f"Runs: {counts or 'none'}."), tails, class_=f"verdict {colour}")


def _axes_in_words(written: WrittenSweep) -> str:
    fields = [" with ".join(axis.fields) for axis in written.axes]
    return f"{' and '.join(fields)}, {sweep_tables.in_points(len(written.points), len(written.seeds))}"


def _axes(written: WrittenSweep) -> Iterator[tuple[str, str]]:
    for axis in written.axes:
        for i, field in enumerate(axis.fields):
            yield field, ", ".join(value_text(row[i]) for row in axis.values)
    yield "seeds", ", ".join(map(str, written.seeds))


def _table(kept: Kept) -> Iterator[Html]:
    fields, seeds = kept.written.fields, len(kept.written.seeds)
    heads = (*map(html.breakable, fields), *sweep_tables.kpi_heads(), "verdict")
    cells = [
        (*map(value_text, point.axes.values()), *sweep_tables.interval_cells(point), point.verdicts)
        for point in sweep_tables.points_of(kept.rows, [one.distributions for one in kept.beside], seeds)
    ]
    yield html.table(heads, cells[:MOST_ROWS], words=len(fields))
    if len(cells) > MOST_ROWS:
        yield element("p", f"And {len(cells) - MOST_ROWS:,} more rows in sweep.parquet.", class_="quiet")
    if seeds > 1:
        yield element("p", f"{seeds} seeds; {sweep_tables.OVER_SEEDS}.", class_="quiet")


def _what_if(kept: Kept) -> Iterator[Html]:
    """Which point to take, by sliders: each point's runs together."""
    seeds = len(kept.written.seeds)
    points = [kept.beside[i : i + seeds] for i in range(0, len(kept.beside), seeds)]
    first = [point[0].scenario for point in points]
    if not points or any(one.moved is None or one.scenario is None for point in points for one in point):
        yield element("p", f"None: {NO_SLIDERS if kept.finished else 'the sweep has not ended'}.", class_="quiet")
        return
    scenarios = [Scenario.model_validate_json(json.dumps(one)) for one in first]
    targets = (Target("slo.attainment", True, MET),)
    fields = kept.written.fields
    options = [
        _option(kept.rows[i * seeds : (i + 1) * seeds], points[i], scenario) for i, scenario in enumerate(scenarios)
    ]
    gpus = {cluster.gpu for scenario in scenarios for _, cluster in scenario.pools}
    prices = {load_gpu(gpu).name: load_gpu(gpu).price_usd_per_hour for gpu in sorted(gpus)}
    command = kept.written.command or f"llmsim sweep {kept.written.source}"
    yield from what_if.section(
        WhatIf("sweep", tuple(map(html.breakable, fields)), targets, tuple(options), prices, CONFIDENCE, command)
    )


def _option(rows: Sequence[SweepRow], point: Sequence[KeptBeside], scenario: Scenario) -> Option:
    values = {field: value_text(value) for field, value in rows[0].axes.items()}
    name = ", ".join(f"{field}={value}" for field, value in values.items())
    doubts = {row.verdict for row in rows} - {STEADY}
    found = PooledBounds.of_runs([one.moved for one in point if one.moved is not None])
    return Option(name, name, tuple(values.values()), gpus_of(scenario), (found,), min(doubts, default=None))


def _pictures(folder: Path, *, finished: bool) -> Iterator[Html]:
    there = [(folder / name, words) for name, words in PICTURES.items() if (folder / name).is_file()]
    for file, words in there:
        yield html.picture(file, words)
    if not there:
        why = sweep_tables.NO_PICTURES if finished else "they are drawn when the sweep has ended"
        yield element("p", f"None: {why}.", class_="quiet")


def _again(folder: Path, written: WrittenSweep) -> Iterator[Html]:
    yield element("p", f"With llmsim {written.llmsim}, where it was first run:")
    yield html.command(written.command or f"llmsim sweep {written.source} --out {folder.resolve().name}")
    yield element("p", "Points that are there are not run again; with another --out, all are, and give the same bytes.")
