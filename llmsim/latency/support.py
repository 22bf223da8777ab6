"""What is known of a model on a GPU: whether it fits, what its step times rest on, and how far these were off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

from pydantic import Field

from llmsim.errors import InputError
from llmsim.latency.data_parallel import of_data_sheet, of_profile
from llmsim.latency.gpu import Gpu
from llmsim.latency.kv_memory import kv_blocks, weight_bytes_of_a_stage
from llmsim.latency.model import Architecture, Model
from llmsim.latency.profile import find_profile, list_profiles, load_profile, read_profile
from llmsim.latency.profile_files import Profile, profiles_dir, read_record, read_toml

SIZES = (1, 2, 4, 8)  #: GPUs of one node
BLOCK_TOKENS = 16
#: median absolute errors of the roofline against composed steps, by GPU and model (`llmsim validate steps`)
ROOFLINE_ERROR = "3 to 16 % against composed steps of dense models"


class Found(Profile):
    """An error that a validation found: of step times with or without the host, against a real engine."""

    gpu: str
    model: str
    engine: str
    case: str  #: of `llmsim validate`
    points: Annotated[int, Field(ge=1)]
    median_percent: float  #: of the absolute errors


class Validated(Profile):
    """All errors found, as hardware_profiles/validated.toml has them."""

    found: tuple[Found, ...]


@dataclass(frozen=True)
class Support:
    """A model on so many of these GPUs, or on so many for each rank of attention data parallelism."""

    tensor_parallel_size: int
    weight_bytes_per_gpu: float
    kv_tokens: int | None  #: of all ranks; None: it does not fit
    refused: str | None  #: why it does not fit
    step_times: str  #: composed or roofline
    basis: str  #: of the step times, in words
    notes: tuple[str, ...] = ()  #: of a composed profile: what is less certain


def support(gpu: Gpu, model: Model, sizes: tuple[int, ...] = SIZES, stages: int = 1) -> list[Support]:
    """Tell what is known, for each number of GPUs that share a stage's layers and can share their heads."""
    return [_support(gpu, model, size, stages) for size in sizes if not model.num_attention_heads % size]


def errors_found(gpu: Gpu, model: Model) -> list[Found]:
    """What validations found for this model on this GPU; without any, for this model elsewhere."""
    mine = [found for found in all_found() if found.model == model.name]
    return [found for found in mine if found.gpu == gpu.name] or mine


@lru_cache(maxsize=1)
def all_found() -> tuple[Found, ...]:
    """Every error that a validation found."""
    path = profiles_dir() / "validated.toml"
    return read_record(Validated, read_toml(path), str(path)).found


def gpus_of(model: Model) -> list[str]:
    """GPUs for which step times of a model of these sizes and types are shipped."""
    return sorted({gpu for gpu, architecture in _shipped() if architecture == model.architecture})


@lru_cache(maxsize=1)
def _shipped() -> tuple[tuple[str, Architecture], ...]:
    return tuple((gpu, load_profile(gpu, model, size).architecture) for gpu, model, size in list_profiles())


def _support(gpu: Gpu, model: Model, size: int, stages: int) -> Support:
    tokens, refused = None, None
    weights = weight_bytes_of_a_stage(model, size, stages)
    try:
        blocks = kv_blocks(
            gpu,
            model,
            tensor_parallel_size=size,
            block_tokens=BLOCK_TOKENS,
            null_blocks=1,
            pipeline_parallel_size=stages,
        )
        tokens = model.ranks * BLOCK_TOKENS * blocks
    except InputError as error:
        refused = str(error)
    try:
        profile = read_profile(find_profile(gpu, model, size))
    except InputError:
        kind, basis = "roofline", of_data_sheet(gpu, model, size).basis
        return Support(size, weights, tokens, refused, kind, basis, _of_stages(stages))
    notes = tuple(note for note in profile.provenance.notes if "less certain" in note or "left out" in note)
    basis = of_profile(profile).basis
    return Support(size, weights, tokens, refused, "composed", basis, notes + _of_stages(stages))


def _of_stages(stages: int) -> tuple[str, ...]:
    return (f"{stages} pipeline stages with even batches: less certain",) if stages > 1 else ()
