"""A scenario to begin from: it loads, runs, and is the one that it was begun from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from llmsim.scenario import load_scenario, scenario_names
from llmsim.scenario.commented import toml_value
from llmsim.scenario.load import read_source

WITHOUT_TRACE = "mooncake_conversation"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_it_writes_runs(run_cli):
    said = run_cli("init", "--request-rate", 4, "--num-prompts", 30)

    assert said == "scenario.toml: run it with llmsim run scenario.toml\n"
    assert load_scenario("scenario.toml").workload.arrivals.options == {"rate_per_s": 4.0}
    run_cli("run", "scenario.toml", "--json")


@pytest.mark.parametrize("name", [name for name in scenario_names() if name != WITHOUT_TRACE])
def test_it_is_the_scenario_that_it_was_begun_from(name, run_cli):
    run_cli("init", "mine.toml", "--from", name)
    begun, mine = read_source(name), read_source("mine.toml")

    assert load_scenario("mine.toml") == load_scenario(name, ["name=mine"])
    assert [mine.data.get(key) for key in ("plan", "sweep")] == [begun.data.get(key) for key in ("plan", "sweep")]


def test_keys_that_are_not_given_stand_behind_a_hash_with_their_defaults(run_cli):
    run_cli("init")
    text = Path("scenario.toml").read_text()

    assert "\n# instances = 1 " in text
    assert "# engine instances behind the router" in text
    begun = load_scenario("scenario.toml", ["name=other"])
    for line in text.splitlines():  # each default is one: without its # the file says the same
        given = line.removeprefix("# ").partition("  #")[0].strip()
        if line.startswith("# ") and re.fullmatch(r"\w+ = .+", given):
            other = load_scenario(write(text.replace(line, given)))
            assert (other.cluster, other.user, other.slo) == (begun.cluster, begun.user, begun.slo)


def write(text: str) -> str:
    Path("other.toml").write_text(text.replace('name = "scenario"', 'name = "other"'))
    return "other.toml"


def test_what_is_there_stays(run_cli, refused):
    run_cli("init", "a.toml")

    assert "a.toml: is there already" in refused("init", "a.toml")
    assert "ends in .toml" in refused("init", "a.json")
    assert "did you mean 'quickstart'" in refused("init", "b.toml", "--from", "quickstar")
    assert [file.name for file in Path().iterdir()] == ["a.toml"]
    run_cli("init", "a.toml", "--force")


@pytest.mark.parametrize("value", [1, 2.5, 1e-9, 3e15, True, 'a "quote" \\ é', [1, [2.0]], {"a b": {"c": []}}])
def test_values_are_read_as_they_were_written(value):
    assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value
