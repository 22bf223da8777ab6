"""Measured step times of a model on a GPU: hardware_profiles/steps/<gpu>/<model>-tp<k>.json."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from llmsim.errors import InputError, nearest
from llmsim.latency.gpu import Gpu
from llmsim.latency.model import Architecture, Model
from llmsim.latency.profile_files import Profile, Provenance, profiles_dir, read_json, read_record

Ascending = Annotated[tuple[int, ...], Field(min_length=2)]
OF_RANKS = re.compile(r"-dp\d+$")  #: a profile's name: of so many ranks of attention data parallelism
Seconds = tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]


class StepProvenance(Provenance):
    """Where step times come from."""

    operators: str  #: folder and version of the measured operators
    engine: str  #: whose kernels, and which version
    license: str
    units: str = "seconds, tokens, sequences"
    notes: tuple[str, ...] = ()


class StatedError(Profile):
    """Absolute relative error of the model against a reference, in percent."""

    against: str
    points: int
    median_percent: float
    p90_percent: float

    def __str__(self) -> str:
        return (
            f"median {self.median_percent:g} %, p90 {self.p90_percent:g} % over {self.points} steps of {self.against}"
        )


class LinearTimes(Profile):
    """All of a step but attention and head, against the tokens in the step."""

    tokens: Ascending
    time_s: Seconds


class HeadTimes(Profile):
    """The language-model head, against the sequences that get a token."""

    sequences: Ascending
    time_s: Seconds


class PrefillTimes(Profile):
    """Attention of a whole prompt in one chunk, all layers: alone in the step, and for each further one."""

    prompt_tokens: Ascending
    alone_s: Seconds
    added_s: Seconds


class DecodeTimes(Profile):
    """Attention of a decode step, all layers: a row for each number of sequences, a column per context."""

    sequences: Ascending
    context_tokens: Ascending  #: of each sequence
    time_s: tuple[Seconds, ...]
    #: of each row: the largest context that was measured; beyond it the row was continued. Empty: not told
    measured_context_tokens: tuple[int, ...] = ()


class MixedDecodeTimes(Profile):
    """What a decoding sequence takes, all layers, in a step that holds a prompt: `llmsim.latency.mixed_attention`.

    `sequence_s`, and `block_s` for each block of its context, the last one counted in full.
    """

    block_tokens: Annotated[int, Field(ge=1)]
    sequence_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    block_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class StepProfile(Profile):
    """GPU time of engine steps in four parts that add up. No host time: no scheduler, sampling or HTTP."""

    gpu: str
    model: str
    architecture: Architecture  #: what the model is: a profile serves every model of these sizes and types
    tensor_parallel_size: Annotated[int, Field(ge=1)]
    expert_parallel_size: Annotated[int, Field(ge=1)] = (
        1  #: GPUs that experts are dealt out to whole; 1: all share each
    )
    provenance: StepProvenance
    error: StatedError | None = None
    linear: LinearTimes
    head: HeadTimes
    prefill_attention: PrefillTimes
    decode_attention: DecodeTimes
    #: none: decodes take as long beside a prompt as in a step of their own
    mixed_decode: MixedDecodeTimes | None = None
    #: of ranks of attention data parallelism, what they share: routed experts and the way there, against the tokens of
    #: all ranks; the other parts are then those of one rank
    shared_experts: LinearTimes | None = None

    @model_validator(mode="after")
    def _shapes_and_order(self) -> Self:
        prefill, decode = self.prefill_attention, self.decode_attention
        _check_curve("linear", self.linear.tokens, self.linear.time_s)
        if (self.shared_experts is not None) != (self.architecture.ranks > 1):
            raise ValueError("shared_experts: expected where architecture.experts.data_parallel_size is above 1")
        if self.shared_experts is not None:
            _check_curve("shared_experts", self.shared_experts.tokens, self.shared_experts.time_s)
        _check_curve("head", self.head.sequences, self.head.time_s)
        _check_curve("prefill_attention.alone_s", prefill.prompt_tokens, prefill.alone_s)
        _check_curve("prefill_attention.added_s", prefill.prompt_tokens, prefill.added_s)
        if len(decode.measured_context_tokens) not in (0, len(decode.sequences)):
            raise ValueError("decode_attention.measured_context_tokens: expected one for each number of sequences")
        for row in decode.time_s:
            _check_curve("decode_attention", decode.context_tokens, row)
        for column in zip(*decode.time_s, strict=True):
            _check_curve("decode_attention", decode.sequences, column)
        return self


def _check_curve(name: str, x: tuple[int, ...], y: tuple[float, ...]) -> None:
    if len(x) != len(y):
        raise ValueError(f"{name}: {len(y)} times for {len(x)} points")
    if any(later <= earlier for earlier, later in pairwise(x)):
        raise ValueError(f"{name}: points must ascend")
    if any(later < earlier for earlier, later in pairwise(y)):
        raise ValueError(f"{name}: more work must not take less time")


def profile_path(gpu: str, model: str, tensor_parallel_size: int) -> Path:
    """Where the shipped profile of these lies, if there is one. That of N ranks of a model has the name MODEL-dpN."""
    return profiles_dir() / "steps" / gpu / f"{model}-tp{tensor_parallel_size}.json"


def list_profiles() -> list[tuple[str, str, int]]:
    """(gpu, model, tensor_parallel_size) of every shipped profile, but for those of several ranks."""
    found = []
    for path in sorted((profiles_dir() / "steps").glob("*/*-tp*.json")):
        model, _, size = path.stem.rpartition("-tp")
        if OF_RANKS.search(model):
            continue
        found.append((path.parent.name, model, int(size)))
    return found


def load_profile(gpu: str, model: str, tensor_parallel_size: int = 1) -> StepProfile:
    """Return the shipped profile by the names in its path. InputError names the nearest there is."""
    path = profile_path(gpu, model, tensor_parallel_size)
    if not path.is_file():
        wanted = f"{gpu}/{model}-tp{tensor_parallel_size}"
        there = nearest(wanted, [f"{g}/{m}-tp{k}" for g, m, k in list_profiles()])
        raise InputError(f"no step times for {wanted}{there}")
    return read_profile(path)


def find_profile(gpu: Gpu, model: Model, tensor_parallel_size: int = 1) -> Path:
    """Return the file of shipped step times of a model that is the same in sizes and types, whatever its name.

    InputError says what differs from the nearest that is there, and that `roofline` needs none.
    """
    wanted, near = _undealt(model.architecture), []
    dealt_out = None if model.experts is None else model.experts.dealt_out
    for path in sorted((profiles_dir() / "steps" / gpu.name).glob("*.json")):
        known, size, spread = _identity(path, path.stat().st_mtime_ns)
        if known == wanted and size == tensor_parallel_size and dealt_out in (None, spread):
            return path
        if _sizes(known) == _sizes(wanted):
            near.append((known, size))
    raise InputError(
        f"no step times for {model.name} on {gpu.name} with tensor_parallel_size = {tensor_parallel_size}"
        f"{f', data_parallel_size = {model.ranks}' if model.ranks > 1 else ''}{_dealt_in_words(dealt_out)}"
        f"{_what_differs(wanted, tensor_parallel_size, near)}; {_instead(wanted)}"
    )


def _instead(wanted: Architecture) -> str:
    """What gives step times where none are shipped."""
    if wanted.experts is None or wanted.experts.routing == "uniform":
        return 'latency = "roofline" works for any'
    return f"those of skewed experts are your own to compose: llmsim profile compose --routing {wanted.experts.routing}"


def _undealt(model: Architecture) -> Architecture:
    """These sizes without how experts are dealt out, which a profile says beside them."""
    if model.experts is None or model.experts.dealt_out is None:
        return model
    return model.model_copy(update={"experts": model.experts.model_copy(update={"dealt_out": None})})


def _dealt_in_words(dealt_out: bool | None) -> str:
    if dealt_out is None:
        return ""
    return ", experts dealt out whole" if dealt_out else ", a share of each expert on every GPU"


@lru_cache(maxsize=1024)
def _identity(path: Path, modified_ns: int) -> tuple[Architecture, int, bool]:
    """Architecture and tensor_parallel_size of a profile, and whether experts are dealt out whole.

    The time of its last change makes a changed file another.
    """
    data = read_json(path)
    architecture = read_record(Architecture, data.get("architecture") or {}, f"{path}: architecture")
    return architecture, int(data.get("tensor_parallel_size", 0)), int(data.get("expert_parallel_size", 1)) > 1


def _sizes(model: Architecture) -> Architecture:
    alike = {"routing": "uniform", "data_parallel_size": 1}
    experts = None if model.experts is None else model.experts.model_copy(update=alike)
    return model.model_copy(update={"quantization": None, "kv_cache_dtype": "bfloat16", "experts": experts})


def _what_differs(wanted: Architecture, gpus: int, near: list[tuple[Architecture, int]]) -> str:
    """What there is of these sizes, in words."""
    alike = sorted({size for known, size in near if known == wanted})
    if gpus in alike:
        return "; there are some dealt out the other way, taken where expert_parallel_size is left out"
    if alike:
        return f"; there are some with {', '.join(map(str, alike))}"
    if wanted.ranks > 1:
        ranks = sorted({(known.ranks, size) for known, size in near if known.ranks > 1})
        there = [f"data_parallel_size = {known} and tensor_parallel_size = {size}" for known, size in ranks]
        return f"; there are some with {' or '.join(there)}" if there else ""
    near = [(known, size) for known, size in near if known.ranks == 1]
    types = sorted(
        {types_in_words(known) for known, size in near if size == gpus} or {types_in_words(k) for k, _ in near}
    )
    return f", which has {types_in_words(wanted)}; there are some with {' and '.join(types)}" if types else ""


def other_sizes(measured: Architecture, model: Architecture) -> str:
    """The first size or type in which they differ, as both have it; "" if in none."""
    wanted = _undealt(model.architecture)
    for key in Architecture.model_fields:
        one, other = getattr(measured, key), getattr(wanted, key)
        if one != other:
            return f"{key} = {one}, expected {other}"
    return ""


def types_in_words(model: Architecture) -> str:
    """Types of weights and of the KV cache, such as ``fp8 weights and bf16 KV cache``."""
    weights = "bf16" if model.quantization is None else model.quantization.dtype
    skewed = "" if model.experts is None or model.experts.routing == "uniform" else f", {model.experts.routing} routing"
    return f"{weights} weights and {model.kv_cache_dtype.replace('bfloat16', 'bf16')} KV cache{skewed}"


def profile_of(gpu: Gpu, model: Model, tensor_parallel_size: int = 1) -> StepProfile:
    """Read what `find_profile` finds."""
    return read_profile(find_profile(gpu, model, tensor_parallel_size))


def read_profile(path: Path | str) -> StepProfile:
    """Read a profile file. InputError names file and key."""
    return read_record(StepProfile, read_json(Path(path)), str(path))


def write_profile(profile: StepProfile, path: Path | str) -> None:
    """Write a profile as JSON, a line for each list of numbers."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    data = profile.model_dump(mode="json", exclude_none=True)
    Path(path).write_text(_format(data, "") + "\n", encoding="utf-8")


def _format(value: Any, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, dict):
        lines = [f"{deeper}{json.dumps(key)}: {_format(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], list | str):
        return "[\n" + ",\n".join(deeper + _format(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value)
