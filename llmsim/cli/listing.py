"""`llmsim list`: the names that scenarios and commands may use."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from llmsim.cli.output import print_json


class Kind(StrEnum):
    """What can be listed."""

    GPUS = "gpus"
    MODELS = "models"
    HOSTS = "hosts"
    SCHEDULERS = "schedulers"
    ROUTERS = "routers"
    SCENARIOS = "scenarios"


def show(
    kind: Annotated[
        Kind, typer.Argument(metavar="KIND", help="gpus, models, hosts, schedulers, routers or scenarios.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """List what is there by name."""
    names = _names(kind)
    if as_json:
        print_json({kind.value: names})
    else:
        print("\n".join(names))


def _names(kind: Kind) -> list[str]:
    if kind is Kind.SCENARIOS:
        from llmsim.scenario import scenario_names

        return list(scenario_names())
    if kind in (Kind.SCHEDULERS, Kind.ROUTERS):
        from llmsim import discovery

        return discovery.names(f"llmsim.{kind.value}")
    from llmsim.latency import hardware

    known = {Kind.GPUS: hardware.list_gpus, Kind.MODELS: hardware.list_models, Kind.HOSTS: hardware.list_hosts}
    return known[kind]()
