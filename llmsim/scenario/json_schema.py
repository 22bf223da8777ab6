"""JSON Schema of a scenario, for editors that complete and check TOML (Taplo, Even Better TOML): from the tables.

It knows the options of every policy that llmsim ships. What holds between keys (a plan without traces, classes with
equal rules) no schema can say: reading the scenario does.
"""

from __future__ import annotations

import copy
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import AliasChoices, BaseModel

from llmsim import discovery
from llmsim.scenario.cluster import LatencyChoice, PoolScheduler, RouterChoice, SchedulerChoice
from llmsim.scenario.options import options_model
from llmsim.scenario.reference import MEANINGS, meanings, sentence, unit_of
from llmsim.scenario.scenario import Scenario
from llmsim.scenario.table import Table
from llmsim.scenario.workload import ArrivalsTable, LengthsTable

Schema = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"  #: the newest that Taplo reads

#: table that names a policy -> its key, where policies are, and their contract
NAMED: dict[type[Table], tuple[str, str, str]] = {
    SchedulerChoice: ("name", "llmsim.schedulers", "llmsim.scheduler:Scheduler"),
    PoolScheduler: ("name", "llmsim.schedulers", "llmsim.scheduler:Scheduler"),
    RouterChoice: ("name", "llmsim.routers", "llmsim.router:Router"),
    LatencyChoice: ("name", "llmsim.latency.sources", "llmsim.latency.contract:LatencySource"),
    ArrivalsTable: ("process", "llmsim.workload.arrivals", "llmsim.workload.arrival_process:ArrivalProcess"),
    LengthsTable: ("source", "llmsim.workload.lengths", "llmsim.workload.length_source:LengthSource"),
}


def scenario_schema(beside: Mapping[str, type[Table]]) -> Schema:
    """Return the schema of a scenario's file; `beside` are tables that another command reads, by name."""
    schema = schema_of(Scenario)
    for name, table in beside.items():
        of_table = schema_of(table)
        schema["$defs"] |= of_table.pop("$defs", {})
        schema["properties"][name] = of_table
    schema["properties"]["sweep"] = {"type": "object", "description": "axes of llmsim sweep, by dotted key"}
    return {"$schema": DRAFT, "title": "Scenario of llmsim", **schema}


def schema_of(model: type[BaseModel]) -> Schema:
    """Return the schema of a table and of those in it, with what each key means."""
    schema = copy.deepcopy(model.model_json_schema())
    known = {table.__name__: table for table in _tables(Table)}
    for name, definition in schema.get("$defs", {}).items():
        if name in known:
            _explain(definition, known[name])
    _explain(schema, model)
    for table, (key, package, contract) in NAMED.items():
        if table.__name__ in schema.get("$defs", {}):
            schema["$defs"][table.__name__] = _with_options(schema["$defs"][table.__name__], key, package, contract)
    if "LatencyChoice" in schema.get("$defs", {}):
        named = {"type": "string", "description": MEANINGS["latency.name"]}
        schema["$defs"]["LatencyChoice"] = {"anyOf": [named, schema["$defs"]["LatencyChoice"]]}
    return schema


def _tables(of: type[Table]) -> Iterator[type[Table]]:
    for table in of.__subclasses__():
        yield table
        yield from _tables(table)


def _explain(definition: Schema, table: type[BaseModel]) -> None:
    """Say of each property what it means and in which unit, and give it all names that are read."""
    said = meanings(table)
    definition["description"] = sentence(definition.get("description", ""))
    for name, info in list(table.model_fields.items()):
        found = definition.get("properties", {}).get(name)
        if found is None:
            continue
        found.pop("title", None)
        unit = unit_of(name)
        meaning = said.get(name) or MEANINGS.get(name, "")
        if text := meaning + (f" ({unit})" if unit and meaning else unit):
            found["description"] = text
        if isinstance(info.validation_alias, AliasChoices):
            definition["properties"] |= {str(other): found for other in info.validation_alias.choices}


def _with_options(definition: Schema, key: str, package: str, contract: str) -> Schema:
    """One kind of table for each shipped policy, with its options; a name that is not shipped has any."""
    own = definition.get("properties", {})
    kinds, names = [], []
    for name, model in _options(package, contract):
        options = model.model_json_schema()
        names.append(name)
        kinds.append(
            {
                "properties": own | options.get("properties", {}) | {key: {"const": name}},
                "required": [key, *options.get("required", [])],
                "additionalProperties": False,
            }
        )
    every = {option: value for kind in kinds for option, value in kind["properties"].items()}
    if key not in definition.get("required", []):  # the name is another table's, or the default
        kinds.append({"properties": every | {key: False}, "additionalProperties": False})
    kinds.append({"properties": {key: {"type": "string", "not": {"enum": names}}}, "required": [key]})
    return {"type": "object", "description": definition.get("description", ""), "anyOf": kinds}


def _options(package: str, contract: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The policies that llmsim ships, by name, with their options; installed ones run no code here."""
    base = pkgutil.resolve_name(contract)
    for name in discovery.shipped(package):
        policy: type = discovery.find(package, name, base)
        yield name, options_model(policy)
