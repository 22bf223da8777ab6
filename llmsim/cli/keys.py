"""`llmsim list keys`: every key that a scenario may have, with its type, default, unit and meaning."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llmsim.errors import InputError, nearest

if TYPE_CHECKING:
    from llmsim.scenario.reference import Key


def all_keys() -> list[Key]:
    """Return every key of a scenario, the options of the policies that llmsim ships, and those of [plan]."""
    from llmsim.scenario import Scenario
    from llmsim.scenario.reference import keys_of
    from llmsim.studies.plan.plan_question import PlanTable

    keys = [*keys_of(Scenario), *_policies(), *keys_of(PlanTable, "plan")]
    return list(dict.fromkeys(keys))


#: table -> its key that holds a name; what is found by it
NAMED = {
    "scheduler": ("name", "llmsim.schedulers", "llmsim.scheduler:Scheduler"),
    "router": ("name", "llmsim.routers", "llmsim.router:Router"),
    "cluster.latency": ("name", "llmsim.latency.sources", "llmsim.latency.contract:LatencySource"),
    "workload.arrivals": ("process", "llmsim.workload.arrivals", "llmsim.workload.arrival_process:ArrivalProcess"),
    "workload.lengths": ("source", "llmsim.workload.lengths", "llmsim.workload.length_source:LengthSource"),
}
NAMED |= {f"workload.classes.{part}": NAMED[f"workload.{part}"] for part in ("arrivals", "lengths")}


def _policies() -> Iterator[Key]:
    from llmsim import discovery
    from llmsim.scenario.reference import options_of

    for table, (key, package, base) in NAMED.items():
        contract = pkgutil.resolve_name(base)
        for name in discovery.shipped(package):  # installed policies run no code when listed
            policy: type = discovery.find(package, name, contract)
            yield from options_of(policy, table, f'{key} = "{name}"')


def keys_in(table: str | None) -> list[Key]:
    """Return the keys of one table and of those in it; all without a name. InputError for an unknown one."""
    keys = all_keys()
    if table is None:
        return keys
    wanted = table.strip("[]")
    found = [key for key in keys if f"{key.table}.".startswith(f"{wanted}.") or key.path == wanted]
    if not found:
        known = sorted({key.table for key in keys if key.table})
        raise InputError(f"list keys: no table '{table}'{nearest(wanted, known)}")
    return found


def as_json(keys: list[Key]) -> dict[str, Any]:
    """Return the keys as JSON has them."""
    import dataclasses

    return {"keys": [dataclasses.asdict(key) for key in keys]}


def print_keys(keys: list[Key]) -> None:
    """Print one paragraph for each table, one line for each key and one for what it means."""
    heading = None
    for key in keys:
        if heading != (key.table, key.variant):
            heading = (key.table, key.variant)
            choice = f"  {key.variant}" if key.variant else ""
            print(f"\n[{key.table}]{choice}" if key.table else "top of the file")
        default = key.default if key.default in ("required", "left out") else f"= {key.default}"
        called = f"  (vLLM {key.vllm_name})" if key.vllm_name else ""
        print(f"  {key.name}: {key.type}{f' ({key.unit})' if key.unit else ''}, {default}{called}")
        print(f"      {key.meaning}")
