"""Every key that a scenario may have, read from the tables themselves: for `llmsim list keys` and the documentation.

What a key means stands where its field does, after ``#:``; names that speak for themselves are explained once, here.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from llmsim.scenario.table import Table
from llmsim.scenario.vllm_names import VLLM_NAMES

#: endings of names, the longest that fits first
UNITS = {
    "_gb_per_s": "GB/s",
    "_usd_per_hour": "USD/h",
    "usd_per_kwh": "USD/kWh",
    "tokens_per_s": "tokens/s",
    "_per_s": "1/s",
    "_tokens": "tokens",
    "_bytes": "bytes",
    "_s": "s",
}
#: names that speak for themselves, or mean the same in several tables; what stands beside a field goes first
MEANINGS = {
    "name": "what it is called, in tables and folders",
    "seed": "of all random numbers; the same seed gives every policy the same requests",
    "requests": "how many requests are drawn",
    "arrivals.rate_per_s": "mean arrivals per second",
    "burstiness": "shape of the gamma distribution of gaps: 1 is Poisson, below 1 is burstier",
    "on_s": "length of each period with arrivals",
    "off_s": "length of each period without arrivals",
    "from_s": "when each rate begins; the first is 0",
    "rates_per_s": "arrivals per second from the time in `from_s` at the same place",
    "workload.arrivals.period_s": "after this time the rates begin anew",
    "amplitude": "the rate at the peak is 1 + amplitude times the mean",
    "peak_s": "when in the period the rate is highest",
    "concurrency": "clients, each with one request in flight",
    "workload.lengths.prompt_tokens": "length of every prompt",
    "workload.lengths.output_tokens": "length of every output",
    "prompt_mean_tokens": "mean length of prompts",
    "prompt_cv": "coefficient of variation of the prompts' lengths",
    "output_mean_tokens": "mean length of outputs",
    "output_cv": "coefficient of variation of the outputs' lengths",
    "prompt_max_tokens": "longer draws are set to it",
    "output_max_tokens": "longer draws are set to it",
    "system_prompts": "number of different system prompts",
    "system_tokens": "length of each system prompt",
    "user_tokens": "length of the text that each user's prompts share",
    "distribution": "of the values around their mean",
    "mean": "mean number",
    "mean_s": "mean time",
    "workload.trace": "file with one request a row: arrival, prompt and output length",
    "format": "how the file is laid out; auto: by its columns",
    "workload.rate_scale": "arrivals come this many times as fast",
    "workload.start_s": "requests before this time of the file are left out",
    "workload.duration_s": "requests later than this after the start are left out",
    "limit": "at most so many requests, the first ones",
    "workload.servegen": "folder or archive of a ServeGen client population",
    "gpu": "GPU: a name of `llmsim list gpus`, or a .toml file",
    "model": "model: a name of `llmsim list models`, or a .toml file",
    "pool.routing": "which experts tokens go to, where that is not as in [cluster]",
    "kv_cache_dtype": "type of the keys and values that are kept",
    "instances": "engine instances behind the router",
    "tensor_parallel_size": "GPUs of each instance, or of each of its ranks",
    "expert_parallel_size": "GPUs that experts are dealt out to whole: all of an instance, or 1",
    "pipeline_parallel_size": "stages that share the layers",
    "data_parallel_size": "ranks of attention that share experts, in lockstep",
    "latency.name": "where step times come from: a name of `llmsim list latencies`; its options stand beside it",
    "num_gpu_blocks": "KV blocks of one instance",
    "mem_fraction_static": "SGLang's share of the GPU's memory, for weights and KV alone; \"auto\": as it derives it",
    "gpu_memory_utilization": "share of the GPU's memory for weights, activations and KV blocks",
    "block_size": "tokens of one KV block",
    "prefix_caching": "keep KV blocks for requests that begin alike",
    "max_model_len": "longest prompt and output together; longer requests are rejected",
    "pool.role": "what the pool's instances compute: whole requests, prompts only, or outputs only",
    "step_s": "the engine's time outside the GPU, for each step",
    "sequence_s": "the same, for each sequence in a step",
    "serial_step_s": "time of each step that asynchronous scheduling cannot overlap with the GPU's work",
    "serial_sequence_s": "the same, for each sequence in a step",
    "eager_step_s": "the same, for each step of more tokens than the largest CUDA graph",
    "max_cudagraph_capture_size": "tokens of the largest CUDA graph",
    "kv_transfer.latency_s": "time before the first byte of each transfer",
    "scheduler.name": "scheduler: a name of `llmsim list schedulers`; its options stand beside it",
    "pool.scheduler.name": "scheduler of this pool; left out: that of [scheduler]",
    "min_instances": "fewest instances",
    "backoff_s": "wait before the first retry",
    "max_backoff_s": "longest wait before a retry",
    "delivery.tbt_s": "least gap between two tokens",
    "delivery.tokens_per_s": "rate of tokens from the first one on",
    "ttft_s": "bound on the time to first token (TTFT)",
    "tbt_s": "bound on the largest gap between two tokens (TBT, vLLM: ITL)",
    "tpot_s": "bound on the time per output token after the first (TPOT)",
    "e2e_s": "bound on the time from arrival to last token (E2E)",
    "user.tokens_per_s": "how fast the reader reads",
    "alpha": "tokens that a second of idle waiting costs",
    "anchor": "when the reader begins: at the arrival, or with the first token",
    "penalty": "how waiting counts",
    "patience_s": "with charge until_patience: how long a reader waits",
    "window.kind": "arrivals within the window count, or everything from first arrival to last token",
    "window.start_s": "requests that arrive before it do not count",
    "window.end_s": "requests that arrive from it on do not count",
    "plan.find": "the fewest instances for the workload's rate, or the largest rate for the cluster's instances",
    "plan.most_instances": "more instances than this are not tried",
    "plan.least_seeds": "fewest runs of a candidate",
    "plan.most_seeds": "most runs of a candidate",
    "plan.tensor_parallel_sizes": "tensor-parallel sizes to choose from; left out: the cluster's",
    "plan.schedulers": "schedulers to choose from; left out: the scenario's",
}
Variants = dict[str, type[Table]]


@dataclass(frozen=True)
class Key:
    """One key of a scenario."""

    table: str  #: dotted; empty: the top of the file
    variant: str  #: ``process = "gamma"`` for a key that only this kind of table has; else empty
    name: str
    type: str  #: in words, with its range
    default: str  #: as TOML; ``required``, or ``left out`` where there is none
    unit: str
    meaning: str
    vllm_name: str

    @property
    def path(self) -> str:
        """As ``--set`` takes it."""
        return f"{self.table}.{self.name}" if self.table else self.name


def keys_of(table: type[Table], path: str = "", variant: str = "") -> Iterator[Key]:
    """Go through the keys of `table`, which stands at `path`, and of the tables in it, in the order of their fields.

    A table in an array (``[[pool]]``) has the path of the array. A table that several kinds have comes with each.
    """
    for name, field in table.model_fields.items():
        inner = _variants(field.annotation)
        if not inner:
            yield _key(table, name, field, path, variant)
        below = f"{path}.{name}" if path else name
        for label, kind in inner.items():
            yield from keys_of(kind, below, label)


def options_of(policy: type, path: str, variant: str) -> Iterator[Key]:
    """Go through the options of a policy, the fields of its dataclass, in the table at `path`."""
    said, hints = meanings(policy), get_type_hints(policy, include_extras=True)
    for field in dataclasses.fields(policy):
        default = "required" if field.default is dataclasses.MISSING else _shown(field.default)
        full = f"{path}.{field.name}"
        meaning, hint = said.get(field.name, _general(full)), hints[field.name]
        kind = _type_names(hint) + _range(_inner_metadata(hint))
        yield Key(path, variant, field.name, kind, default, unit_of(field.name), meaning, VLLM_NAMES.get(full, ""))


def tables_of(table: type[Table], path: str = "", variant: str = "") -> Iterator[tuple[str, str, str]]:
    """Go through the tables within `table`: path, variant, and the sentence that describes it."""
    yield path, variant, sentence(inspect.getdoc(table) or "")
    for name, field in table.model_fields.items():
        below = f"{path}.{name}" if path else name
        for label, kind in _variants(field.annotation).items():
            yield from tables_of(kind, below, label)


def sentence(text: str) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join(text.partition("\n\n")[0].split())


def meanings(cls: type) -> dict[str, str]:
    """Read what stands after ``#:`` above or beside the fields of a class and of its parents: name -> sentence."""
    found: dict[str, str] = {}
    for parent in reversed(cls.__mro__[:-1]):
        if parent.__module__.startswith("llmsim."):
            found.update(_commented(parent))
    return found


@cache
def _commented(cls: type) -> dict[str, str]:
    found: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(cls).splitlines():
        if alone := re.match(r"\s*#:\s?(.*)", line):
            above.append(alone[1])
            continue
        field = re.match(r"    (\w+): [^#]*?(?:#:\s?(.*))?$", line)
        if field and (said := " ".join([*above, *([field[2]] if field[2] else [])])):
            found[field[1]] = said
        above = []
    return found


def _key(table: type[Table], name: str, field: FieldInfo, path: str, variant: str) -> Key:
    full = f"{path}.{name}" if path else name
    said = meanings(table).get(name) or _general(full)
    if not said and get_origin(field.annotation) is Literal:  # what chooses this kind of table
        said = sentence(inspect.getdoc(table) or "")
    return Key(path, variant, name, _type(field), _default(field), unit_of(name), said, VLLM_NAMES.get(full, ""))


def _general(full: str) -> str:
    """Return what a key means by its path's ends, the longest that is known."""
    parts = full.split(".")
    return next((MEANINGS[end] for i in range(len(parts)) if (end := ".".join(parts[i:])) in MEANINGS), "")


def unit_of(name: str) -> str:
    """Return the unit that a name ends with; empty if it has none."""
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return _shown(field.get_default(call_default_factory=True))


def _shown(value: Any) -> str:
    return "left out" if value is None else json.dumps(value)


def _bare(annotation: Any) -> list[Any]:
    """Split a union into its members, without None and without what Annotated adds."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return [each for member in get_args(annotation) for each in _bare(member)]
    return [] if annotation is types.NoneType else [annotation]


def _variants(annotation: Any) -> Variants:
    """Return the tables that may stand at a field: how one is chosen -> its class; without a choice: "" -> class."""
    kinds: list[type[Table]] = []
    for each in _bare(annotation):
        inner = _bare(get_args(each)[0]) if get_origin(each) is tuple else [each]
        kinds += [kind for kind in inner if isinstance(kind, type) and issubclass(kind, Table)]
    return {_label(kind, kinds) if len(kinds) > 1 else "": kind for kind in kinds}


def _label(kind: type[Table], kinds: list[type[Table]]) -> str:
    """Say how to choose one of several tables: by a literal that all have, else by a key that only this one has."""
    for name, field in kind.model_fields.items():
        if get_origin(field.annotation) is Literal and all(name in other.model_fields for other in kinds):
            return f"{name} = " + " | ".join(json.dumps(value) for value in get_args(field.annotation))
    own = [name for name, field in kind.model_fields.items() if field.is_required()]
    return (
        f"with {own[0]}"
        if own
        else "without "
        + " or ".join(name for other in kinds for name, field in other.model_fields.items() if field.is_required())
    )


def _type(field: FieldInfo) -> str:
    return _type_names(field.annotation) + _range([*field.metadata, *_inner_metadata(field.annotation)])


def _type_names(annotation: Any) -> str:
    return " or ".join(dict.fromkeys(_type_name(member) for member in _bare(annotation)))


def _inner_metadata(annotation: Any) -> list[Any]:
    """Collect what Annotated says of the members of a union such as ``Positive | None``."""
    if get_origin(annotation) is Annotated:
        inner, *said = get_args(annotation)
        return [*_inner_metadata(inner), *said]
    if get_origin(annotation) in (Union, types.UnionType):
        return [each for member in get_args(annotation) for each in _inner_metadata(member)]
    return []


def _type_name(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(json.dumps(value) for value in get_args(annotation))
    if get_origin(annotation) in (tuple, list, Sequence):
        (member, *_) = get_args(annotation)
        return f"list of: {_type_names(member)}{_range(_inner_metadata(member))}"
    if get_origin(annotation) is dict:
        return "table of names to values"
    return {int: "integer", float: "number", str: "text", bool: "true or false"}.get(annotation, str(annotation))


def _range(metadata: list[Any]) -> str:
    """Put bounds into words: ``> 0``, ``from 1``, ``0 to 1``."""
    flat = [each for item in metadata for each in (getattr(item, "metadata", None) or [item])]
    said = []
    for symbol, attribute in ((">", "gt"), ("≥", "ge"), ("<", "lt"), ("≤", "le")):
        for bound in flat:
            value = getattr(bound, attribute, None)
            if value is not None and value < 10**9:
                said.append(f"{symbol} {value:g}")
    return f" {', '.join(dict.fromkeys(said))}" if said else ""
