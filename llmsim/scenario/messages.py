"""From pydantic's errors to one line: where, which key, what was expected, the nearest right thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from llmsim.errors import InputError, closest, nearest
from llmsim.scenario.vllm_names import key_called

#: what people and other tools call a key -> the key
ALSO_CALLED = {
    "tp": "tensor_parallel_size",
    "tp_size": "tensor_parallel_size",
    "tensor_parallel": "tensor_parallel_size",
    "replicas": "instances",
    "num_instances": "instances",
    "ep": "expert_parallel_size",
    "ep_size": "expert_parallel_size",
    "pp": "pipeline_parallel_size",
    "pp_size": "pipeline_parallel_size",
    "dp": "data_parallel_size",
    "dp_size": "data_parallel_size",
    "kv_dtype": "kv_cache_dtype",
    "gpu_type": "gpu",
    "model_name": "model",
    "model_path": "model",
}
#: what people look for that is no key, and where it is
ELSEWHERE = dict.fromkeys(
    ("dtype", "quantization", "weight_dtype", "weights_dtype", "load_format"),
    '; the type of the weights is the model\'s: name one of its checkpoints (cluster.model = "qwen3-32b-fp8"), or a '
    "config.json with its quantization_config",
)
#: key path -> the start of a message, such as ``"quickstart.toml, line 7: "``
Place = Callable[[tuple[str, ...]], str]


def input_error(
    error: ValidationError, model: type[BaseModel], place: Place, prefix: tuple[str, ...] = ()
) -> InputError:
    """Tell the first of the errors, unknown keys before others: a misspelt key is also a missing one."""
    first, *rest = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    keys, owner, variant = _resolve(model, first["loc"])
    path = (*prefix, *keys, *_discriminator(first))
    more = f" (and {len(rest)} more)" if rest else ""
    dotted = ".".join(path)
    return InputError(f"{place(path)}{dotted + ': ' if path else ''}{_problem(first, owner, variant, dotted)}{more}")


def _problem(  # noqa: PLR0911 - one per kind
    error: ErrorDetails, owner: type[BaseModel], variant: str, dotted: str
) -> str:
    kind, given, ctx = error["type"], error["input"], error.get("ctx", {})
    if kind == "json_invalid":
        return f"not JSON ({ctx['error']})"
    if kind == "extra_forbidden":
        return f"unknown key{variant}{_meant(dotted, _known(owner))}"
    if kind == "missing":
        hint = owner.model_fields[str(error["loc"][-1])].description
        return f"missing; {hint}" if hint else "missing"
    if kind == "not_found":
        return str(ctx["said"])
    if kind == "value_error":
        return str(ctx["error"])
    if kind == "literal_error":
        field = next(str(part) for part in reversed(error["loc"]) if isinstance(part, str))
        return f"unknown value {given!r}{nearest(str(given), _literals(owner.model_fields[field].annotation))}"
    if kind == "union_tag_invalid":
        choices = [tag.strip("' ") for tag in str(ctx["expected_tags"]).split(",")]
        return f"unknown value {ctx['tag']!r}{nearest(str(ctx['tag']), choices)}"
    if kind == "union_tag_not_found":
        return "missing"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        if ctx.get("class_name") == "LatencyChoice":
            return f"{_short(given)}: expected a name, or a table with a name"
        named = isinstance(given, str) and str(ctx.get("class_name")).endswith("Choice")  # a policy's name alone
        example = f' such as {{name = "{given}"}}' if named else ""
        return f"{_short(given)}: expected a table{example}"
    if kind == "tuple_type":
        name = str(error["loc"][-1])
        tables = name in owner.model_fields and _holds_tables(owner.model_fields[name].annotation)
        return f"{_short(given)}: expected {f'tables [[{name}]], one for each' if tables else 'a list'}"
    wanted = (
        error["msg"].replace("Input should be", "expected").replace("expected greater", "expected a number greater")
    )
    return f"{_short(given)}: {wanted}{_by_default(owner, (error['loc'] or ('',))[-1])}"


def _by_default(owner: type[BaseModel], key: str | int) -> str:
    """The number that a key is where nothing is said, as an example of what it may be."""
    field = owner.model_fields.get(str(key))
    value = None if field is None or field.is_required() else field.default
    return f" (its default is {value:g})" if type(value) in (int, float) else ""


def _meant(dotted: str, known: list[str]) -> str:
    """The key that others have another name for, here or in another table, or the nearest."""
    key = dotted.rpartition(".")[2]
    if key.lower() in ELSEWHERE and "model" in known:
        return ELSEWHERE[key.lower()]
    also = ALSO_CALLED.get(key.lower())
    meant = also if also in known else key_called(key)
    if meant is None or meant == dotted or (meant.endswith(f".{key}") and closest(key, known)):
        return nearest(key, known)
    return f"; did you mean '{meant}'?"


def _known(owner: type[BaseModel]) -> list[str]:
    return [*owner.model_fields, *getattr(owner, "beside", ())]


def _discriminator(error: ErrorDetails) -> tuple[str, ...]:
    """The key that chooses a variant, where the choice is wrong; pydantic's location stops before it."""
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return (str(error["ctx"]["discriminator"]).strip("'"),)
    return ()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _holds_tables(kind: Any) -> bool:
    """A type has tables for items, at any depth."""
    return (isinstance(kind, type) and issubclass(kind, BaseModel)) or any(map(_holds_tables, get_args(kind)))


def _literals(kind: Any) -> list[str]:
    """The words that a type allows, or that the items of a tuple may be."""
    words = [get_args(kind)] if get_origin(kind) is Literal else [_literals(inner) for inner in get_args(kind)]
    return [str(word) for inner in words for word in inner]


def _resolve(model: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[list[str], type[BaseModel], str]:
    """Turn pydantic's location into keys, without tags of unions; find the model that owns the last one."""
    keys: list[str] = []
    variants: dict[str, type[BaseModel]] = {}
    variant = ""
    for place, part in enumerate(map(str, loc), start=1):
        named: Any = model
        if hasattr(named, "model_of") and part in named.names():  # a `Named` table with a model of options
            model, variant = named.model_of(part), f" for {part} {keys[-1]}"
            continue
        if part in variants:
            model = variants[part]
            variant = f" for {part} {keys[-1]}"
            variants = {}
            continue
        keys.append(part)
        variants, inner = {}, _models(model, part)
        if place == len(loc):
            break
        if len(inner) == 1 and "" in inner:
            model, variant = inner[""], ""
        else:
            variants = inner
    return keys, model, variant


def _models(model: type[BaseModel], field: str) -> dict[str, type[BaseModel]]:
    """Models that a field may hold, by tag; the tag is empty where there is no choice."""
    info = model.model_fields.get(field)
    if info is None:
        return {}
    members = (info.annotation, *get_args(info.annotation))
    found: dict[str, type[BaseModel]] = {}
    for member in members:
        if get_origin(member) is Annotated:
            cls, *metadata = get_args(member)
            found.update({note.tag: cls for note in metadata if isinstance(note, Tag)})
        elif isinstance(member, type) and issubclass(member, BaseModel):
            found.update(dict.fromkeys(_tags(member, info.discriminator), member))
    return found


def _tags(model: type[BaseModel], discriminator: Any) -> tuple[str, ...]:
    if not isinstance(discriminator, str):
        return ("",)
    annotation = model.model_fields[discriminator].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ("",)
