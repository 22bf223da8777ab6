"""`llmsim schema`: what editors need to complete and check scenarios and profiles."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from llmsim.cli.output import print_json
from llmsim.writing import replacing

#: of a schema as it is written
BEGINS = b'{\n "$'


class Kind(StrEnum):
    """Files in TOML that llmsim reads."""

    SCENARIO = "scenario"
    GPU = "gpu"
    MODEL = "model"
    HOST = "host"


def schema(
    kind: Annotated[Kind, typer.Argument(help="Of scenarios, or of the profiles of GPUs, models or hosts.")] = (
        Kind.SCENARIO
    ),
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it here.", show_default="printed")] = None,
) -> None:
    """Print a JSON Schema for Taplo or Even Better TOML: keys with type, range and meaning."""
    found = schema_of_kind(kind)
    if out is None:
        print_json(found)
        return
    with replacing(out, BEGINS) as scratch:
        scratch.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(out)


def schema_of_kind(kind: Kind) -> dict[str, Any]:
    """Return the schema of one kind of file."""
    from pydantic import BaseModel

    from llmsim.latency.gpu import Gpu
    from llmsim.latency.hardware import HostProfile
    from llmsim.latency.model import Model
    from llmsim.scenario.json_schema import DRAFT, scenario_schema, schema_of
    from llmsim.studies.plan.plan_question import PlanTable

    if kind is Kind.SCENARIO:
        return scenario_schema({"plan": PlanTable})
    profiles: dict[Kind, type[BaseModel]] = {Kind.GPU: Gpu, Kind.MODEL: Model, Kind.HOST: HostProfile}
    return {"$schema": DRAFT, **schema_of(profiles[kind])}
