"""`llmsim list`: the names that scenarios and commands may use."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import llmsim
from llmsim.cli import keys
from llmsim.cli.output import print_json
from llmsim.errors import InputError


class Kind(StrEnum):
    """What can be listed."""

    ENGINES = "engines"
    GPUS = "gpus"
    MODELS = "models"
    HOSTS = "hosts"
    ACCEPTANCES = "acceptances"
    SCHEDULERS = "schedulers"
    ROUTERS = "routers"
    LATENCIES = "latencies"
    ARRIVALS = "arrivals"
    LENGTHS = "lengths"
    TRACES = "traces"
    SCENARIOS = "scenarios"
    METRICS = "metrics"
    KEYS = "keys"


#: what is found by name, as files and entry points
PACKAGES = {
    Kind.SCHEDULERS: "llmsim.schedulers",
    Kind.ROUTERS: "llmsim.routers",
    Kind.LATENCIES: "llmsim.latency.sources",
    Kind.ARRIVALS: "llmsim.workload.arrivals",
    Kind.LENGTHS: "llmsim.workload.lengths",
    Kind.TRACES: "llmsim.workload.trace_formats",
}


def show(
    kind: Annotated[
        Kind,
        typer.Argument(metavar="KIND", help="A plural: gpus, schedulers, metrics, …, or keys."),
    ],
    table: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="With keys: one table, such as workload.arrivals.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List what is there by name; `keys`: what a scenario may say, with type, default, unit and meaning."""
    if kind is Kind.KEYS:
        found = keys.keys_in(table)
        print_json(keys.as_json(found)) if as_json else keys.print_keys(found)
        return
    if table is not None:
        raise InputError(f"list {kind.value}: only keys are listed by table; '{table}' is one word too many")
    names = _names(kind)
    if as_json:
        print_json({kind.value: names})
    elif kind is Kind.MODELS:
        _show_models(names)
    elif kind is Kind.GPUS:
        _show_gpus(names)
    else:
        _show_with_words(names, _words(kind))


def _show_with_words(names: list[str], words: Mapping[str, str]) -> None:
    """Print a line for each name, with the sentence that its file begins with."""
    from llmsim.reports.terminal import plain_console, say

    width = max(map(len, names), default=0)
    for name in names:
        line = f"{name:{width}}  {words.get(name, '')}".rstrip()
        say(plain_console(), line)


def _words(kind: Kind) -> dict[str, str]:
    """What each shipped thing is, in the words of its file; nothing is imported, installed ones are names alone."""
    if kind is Kind.SCENARIOS:
        from llmsim.scenario import scenario_names

        return {name: _first_comment(file) for name, file in scenario_names().items()}
    if kind is Kind.ENGINES:
        from llmsim.scenario.engines import ENGINES

        return {name: f"{engine.rules()}; scheduler {engine.scheduler}" for name, engine in ENGINES.items()}
    if kind is Kind.METRICS:
        from llmsim.metrics import catalogue

        found = {key: catalogue.kpi_of(key) for key in catalogue.compared(requested=True)}
        return {key: f"{kpi.name}{f', {kpi.shown_unit}' if kpi.shown_unit else ''}" for key, kpi in found.items()}
    if kind not in PACKAGES:
        return {}
    folder = Path(llmsim.__file__).parent.joinpath(*PACKAGES[kind].split(".")[1:])
    return {file.stem: _first_sentence(file) for file in folder.glob("*.py") if not file.stem.startswith("_")}


def _first_comment(file: Path) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    opening = itertools.takewhile(lambda line: line.startswith("# "), lines)
    return _sentence(" ".join(line.removeprefix("# ") for line in opening))


def _first_sentence(file: Path) -> str:
    return _sentence(ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "")


def _sentence(text: str) -> str:
    """The first sentence of a text, on one line."""
    whole = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[a-z0-9)])\. (?=[A-Z])", whole)[0].rstrip(".")


def _show_models(names: list[str]) -> None:
    from llmsim.latency.hardware import load_model
    from llmsim.latency.support import gpus_of
    from llmsim.reports.tables.support_tables import show_models

    models = [load_model(name) for name in names]
    show_models(models, {model.name: gpus_of(model) for model in models})


def _show_gpus(names: list[str]) -> None:
    from llmsim.latency.hardware import list_models, load_gpu, load_model
    from llmsim.latency.support import gpus_of
    from llmsim.reports.tables.support_tables import show_gpus

    served = [gpu for model in list_models() for gpu in gpus_of(load_model(model))]
    show_gpus(map(load_gpu, names), {name: served.count(name) for name in names})


def _names(kind: Kind) -> list[str]:
    if kind is Kind.SCENARIOS:
        from llmsim.scenario import scenario_names

        return list(scenario_names())
    if kind is Kind.ENGINES:
        from llmsim.scenario.engines import ENGINES

        return list(ENGINES)
    if kind is Kind.METRICS:
        from llmsim.metrics import catalogue

        return list(catalogue.compared(requested=True))
    if kind in PACKAGES:
        from llmsim import discovery

        return discovery.names(PACKAGES[kind])
    if kind is Kind.ACCEPTANCES:
        from llmsim.latency.acceptances import list_acceptances

        return list_acceptances()
    from llmsim.latency import hardware

    known = {Kind.GPUS: hardware.list_gpus, Kind.MODELS: hardware.list_models, Kind.HOSTS: hardware.list_hosts}
    return known[kind]()
