"""`llmsim list keys` says of every key what its table says, and a scenario of such keys is read."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable

import pytest

from llmsim.cli.keys import all_keys, keys_in
from llmsim.errors import InputError
from llmsim.scenario.reference import Key
from places import SCENARIOS

KEYS = all_keys()


def key(path: str, variant: str = "") -> Key:
    (found,) = [each for each in KEYS if each.path == path and variant in each.variant]
    return found


def paths_of(table: dict[str, object], above: str = "") -> set[str]:
    """Every key of a TOML table, dotted; tables in arrays count once."""
    found: set[str] = set()
    for name, value in table.items():
        path = f"{above}.{name}" if above else name
        tables = value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]
        found |= set().union(*(paths_of(each, path) if isinstance(each, dict) else {path} for each in tables))
    return found


@pytest.mark.parametrize("each", KEYS, ids=lambda each: f"{each.path} {each.variant}")
def test_every_key_has_a_meaning_and_a_type_in_words(each: Key) -> None:
    assert each.meaning
    assert each.type
    assert "typing" not in each.type
    assert "class" not in each.type


@pytest.mark.parametrize(
    ("path", "variant", "type", "default", "unit"),
    [
        ("seed", "", "integer ≥ 0", "0", ""),
        ("until_s", "", "number > 0", "left out", "s"),
        ("workload.arrivals.burstiness", "gamma", "number > 0", "required", ""),
        ("workload.arrivals.rates_per_s", "piecewise", "list of: number ≥ 0", "required", "1/s"),
        ("cluster.gpu_memory_utilization", "", "number > 0, ≤ 1", "0.9", ""),
        ("cluster.prefix_caching", "", "true or false", "false", ""),
        ("kv_transfer.bandwidth_gb_per_s", "", "number > 0", "required", "GB/s"),
        ("user.index_base", "", "0 or 1", "1", ""),
        ("scheduler.max_num_batched_tokens", "chunked_prefill", "integer", "2048", "tokens"),
        ("scheduler.max_num_batched_tokens", "fcfs", "integer", "left out", "tokens"),
        ("router.load_factor", "session_affinity", "number", "1.25", ""),
    ],
)
def test_type_default_and_unit(path: str, variant: str, type: str, default: str, unit: str) -> None:
    found = key(path, variant)

    assert (found.type, found.default, found.unit) == (type, default, unit)


@pytest.mark.parametrize("file", sorted(SCENARIOS.rglob("*.toml")), ids=lambda file: file.stem)
def test_every_key_of_every_shipped_scenario_is_listed(file) -> None:  # type: ignore[no-untyped-def]
    said = tomllib.loads(file.read_text())
    axes = set(said.pop("sweep", {})) - {"seeds"}
    listed = {each.path for each in KEYS} | {"workload.requests"}  # alias of `limit`, for a trace
    free = ("plan.price_usd_per_hour", "plan.schedulers", "quality.skill")  # what is in them are names

    assert {path for path in paths_of(said) | axes if not path.startswith(free)} <= listed


def test_one_table_of_the_command_line(run_cli: Callable[..., str]) -> None:
    out = run_cli("list", "keys", "kv_transfer")

    assert out.splitlines()[1:3] == [
        "[kv_transfer]",
        "  bandwidth_gb_per_s: number > 0 (GB/s), required",
    ]
    assert "[cluster]" not in out


def test_json_has_what_the_table_shows(run_cli: Callable[..., str]) -> None:
    (found,) = json.loads(run_cli("list", "keys", "cluster.block_size", "--json"))["keys"]

    assert found["vllm_name"] == "--block-size"
    assert found["default"] == "16"


def test_an_unknown_table_is_told_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no table 'workload.arivals'; did you mean 'workload.arrivals'"):
        keys_in("workload.arivals")
