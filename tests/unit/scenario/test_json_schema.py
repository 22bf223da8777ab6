"""The schemas that editors read hold what llmsim reads, and refuse what it refuses."""

from __future__ import annotations

import copy
import json
import os
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from llmsim.cli import main
from llmsim.cli.schema import Kind, schema_of_kind
from llmsim.scenario import scenario_names
from places import ROOT

PROFILES = {Kind.GPU: "gpus", Kind.MODEL: "models", Kind.HOST: "hosts"}
#: its trace is not shipped: run it with --set workload.trace=FILE
WITHOUT_TRACE = "mooncake_conversation"


def validator(kind: Kind) -> Draft7Validator:
    return Draft7Validator(json.loads((ROOT / "docs" / "schemas" / f"{kind}.json").read_text(encoding="utf-8")))


def read(file: Path):
    return tomllib.loads(file.read_text(encoding="utf-8"))


SHIPPED = {name: read(file) for name, file in scenario_names().items() if name != WITHOUT_TRACE}


def tables(data, path=()):
    """Every table of a file, by its path."""
    yield path, data
    for key, value in data.items():
        for place, one in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(one, dict) and key not in ("sweep", "price_usd_per_hour"):
                yield from tables(one, (*path, key) if place is None else (*path, key, place))


def spoiled(data):
    """One file for each table with a key that it does not have, and for each number with a text in its place."""
    for path, table in tables(data):
        for change in ["no_such_key", *(key for key, value in table.items() if type(value) in (int, float))]:
            other = copy.deepcopy(data)
            at = other
            for step in path:
                at = at[step]
            at[change] = "text"
            yield f"{path} {change}", other


def properties(schema):
    """Every key that a schema knows, with the tables it stands in; apart from how pydantic writes it."""
    found = set()
    for name, table in {**schema.get("$defs", {}), "": schema}.items():
        for kind in [table, *table.get("anyOf", [])]:
            found |= {(name, key) for key in kind.get("properties", {})}
    return found


def test_every_shipped_scenario_is_valid():
    check = validator(Kind.SCENARIO)
    Draft7Validator.check_schema(check.schema)

    wrong = {name: [error.message for error in check.iter_errors(data)] for name, data in SHIPPED.items()}
    assert {name: errors for name, errors in wrong.items() if errors} == {}
    assert not check.is_valid(read(scenario_names()[WITHOUT_TRACE]))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_spoiled_scenario_is_refused(name):
    check = validator(Kind.SCENARIO)
    let_through = [what for what, data in spoiled(SHIPPED[name]) if check.is_valid(data)]

    assert let_through == []


@pytest.mark.parametrize("kind", PROFILES)
def test_profiles_are_valid_and_spoiled_ones_are_not(kind):
    check = validator(kind)
    for file in sorted((ROOT / "hardware_profiles" / PROFILES[kind]).glob("*.toml")):
        data = read(file)
        assert [error.message for error in check.iter_errors(data)] == [], file
        assert not check.is_valid(data | {"no_such_key": 1}), file


@pytest.mark.parametrize("kind", Kind)
def test_the_files_in_schemas_are_those_that_the_command_writes(kind):
    """After a new key: LLMSIM_REFRESH_GOLDEN=1, or llmsim schema KIND --out docs/schemas/KIND.json."""
    if os.environ.get("LLMSIM_REFRESH_GOLDEN"):
        assert main(["schema", kind, "--out", str(ROOT / "docs" / "schemas" / f"{kind}.json")]) == 0
    assert properties(validator(kind).schema) == properties(schema_of_kind(kind))


def test_keys_are_explained():
    known = validator(Kind.SCENARIO).schema["$defs"]["ClusterTable"]["properties"]

    assert known["instances"]["description"] == "engine instances behind the router"
