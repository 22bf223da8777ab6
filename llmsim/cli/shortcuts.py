"""Options with vLLM's names that are short for ``--set``: one table, for every verb that takes a scenario's changes."""

from __future__ import annotations

import functools
import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from llmsim.cli import complete
from llmsim.errors import InputError, nearest

#: names in --goodput, as `vllm bench serve` has them -> bound of the SLO; their unit is the millisecond
GOODPUT_BOUNDS = {"ttft": "ttft_s", "tpot": "tpot_s", "e2el": "e2e_s", "itl": "tbt_s"}


@dataclass(frozen=True, slots=True)
class Shortcut:
    """One option, and the key of a scenario that it sets."""

    key: str
    kind: type
    help: str
    names: tuple[str, ...] = ()  #: of the option, where it has several
    metavar: str | None = None
    completer: complete.Completer | None = None
    #: its value as TOML, of what stands on the command line
    toml: Callable[[Any], str] = json.dumps


def _rate(value: float) -> str:
    if not 0 < value < math.inf:
        raise InputError(
            f"--request-rate {value:g}: expected a number above 0; a trace, or clients in a loop, need none"
        )
    return json.dumps(value)


def _goodput(text: str) -> str:
    """The SLO of ``ttft:500 tpot:50``: what is not named is not bounded."""
    bounds = {}
    for word in text.replace(",", " ").split():
        name, colon, number = word.partition(":")
        if name not in GOODPUT_BOUNDS:
            raise InputError(f"--goodput {word}: unknown bound{nearest(name, GOODPUT_BOUNDS)}")
        try:
            bounds[GOODPUT_BOUNDS[name]] = float(number) / 1000
        except ValueError:
            colon = ""
        if not colon:
            raise InputError(f"--goodput {word}: expected NAME:MILLISECONDS, such as {name}:500")
    if not bounds:
        raise InputError("--goodput: expected bounds in milliseconds, such as 'ttft:500 tpot:50'")
    return "{" + ", ".join(f"{key} = {value!r}" for key, value in bounds.items()) + "}"


def _names(text: str) -> str:
    return json.dumps([name.strip() for name in text.split(",")])


def _sizes(text: str) -> str:
    sizes = text.split(",")
    if not all(size.strip().isdecimal() for size in sizes):
        raise InputError(f"--tensor-parallel-size {text}: expected whole numbers, with commas")
    return json.dumps([int(size) for size in sizes])


#: name of the argument -> what it is short for
SHORTCUTS = {
    "model": Shortcut("cluster.model", str, "Model (llmsim list models).", completer=complete.models),
    "gpu": Shortcut("cluster.gpu", str, "GPU (llmsim list gpus).", completer=complete.gpus),
    "instances": Shortcut("cluster.instances", int, "Engine instances."),
    "tensor_parallel_size": Shortcut(
        "cluster.tensor_parallel_size", int, "GPUs of an instance.", names=("--tensor-parallel-size", "--tp")
    ),
    "request_rate": Shortcut("workload.arrivals.rate_per_s", float, "Requests per second.", toml=_rate),
    "num_prompts": Shortcut("workload.requests", int, "Requests that are drawn."),
    "max_concurrency": Shortcut("clients.max_in_flight", int, "Requests that clients have in flight at most."),
    "max_num_batched_tokens": Shortcut("scheduler.max_num_batched_tokens", int, "Tokens of a step at most."),
    "max_num_seqs": Shortcut("scheduler.max_num_seqs", int, "Sequences of a step at most."),
    "goodput": Shortcut(
        "slo", str, "SLO in ms, all of it: 'ttft:500 tpot:50'; also e2el, itl.", metavar="'NAME:MS ...'", toml=_goodput
    ),
}
SCHEDULER = {
    "scheduler": Shortcut("scheduler.name", str, "Scheduler (llmsim list schedulers).", completer=complete.schedulers)
}
SEED = {"seed": Shortcut("seed", int, "Of all random numbers.")}
#: a plan chooses among several
OF_PLAN = {
    "gpu": Shortcut("plan.gpus", str, "GPUs to choose from, with commas.", toml=_names),
    "tensor_parallel_size": Shortcut(
        "plan.tensor_parallel_sizes",
        str,
        "Numbers of GPUs of an instance to choose from, with commas.",
        names=("--tensor-parallel-size", "--tp"),
        toml=_sizes,
    ),
}
Shortcuts = Mapping[str, Shortcut]
Verb = Callable[..., Any]


def with_shortcuts(*more: Shortcuts) -> Callable[[Verb], Verb]:
    """Give a verb the shortcuts, and `more` beside or in place of them: it gets them as `changes`, as if by --set."""
    table: dict[str, Shortcut] = {name: short for one in (SHORTCUTS, *more) for name, short in one.items()}

    def widened(verb: Verb) -> Verb:
        @functools.wraps(verb)
        def called(**given: Any) -> Any:
            values = {name: given.pop(name) for name in table}
            changes = given["changes"] or []
            return verb(**given | {"changes": [*changes, *as_changes(table, values, changes)]})

        own = list(inspect.signature(verb, eval_str=True).parameters.values())
        added = [_parameter(name, short) for name, short in table.items()]
        called.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        return called

    return widened


def _parameter(name: str, short: Shortcut) -> inspect.Parameter:
    option = typer.Option(
        *short.names,
        metavar=short.metavar,
        autocompletion=short.completer,
        help=f"{short.help} Sets {short.key.rpartition('.')[2]}.",
        rich_help_panel="Shortcuts for --set, with vLLM's names",
    )
    kind: Any = Annotated[short.kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def as_changes(table: Shortcuts, values: Mapping[str, Any], given: Sequence[str]) -> list[str]:
    """Write the values of options, by name, as ``key=value``; those that are None were not given.

    InputError where --set says the same, in `given`: which one was meant?
    """
    keys = [change.split("=")[0].strip() for change in given]
    changes = []
    for name, value in values.items():
        key = table[name].key
        if value is None:
            continue
        if any(f"{key}.".startswith(f"{one}.") or f"{one}.".startswith(f"{key}.") for one in keys):
            option = name.replace("_", "-")
            raise InputError(f"--{option} and --set {key}=… exclude each other; give one of them")
        changes.append(f"{key}={table[name].toml(value)}")
    return changes
