"""GPUs, models and hosts by name: what hardware_profiles/ ships, a .toml file, or a Hugging Face config.json."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, model_validator

from llmsim.errors import InputError, nearest
from llmsim.latency.gpu import Gpu
from llmsim.latency.hf_config import read_hf_config
from llmsim.latency.kv_memory import check_tensor_parallel, kv_blocks, kv_heads_per_gpu, overhead_bytes
from llmsim.latency.model import Architecture, KvCacheDtype, Model
from llmsim.latency.profile_files import (
    Count,
    Profile,
    Provenance,
    Time,
    names_of,
    profiles_dir,
    read_record,
    read_toml,
)

__all__ = [
    "Architecture",
    "Gpu",
    "HostProfile",
    "HostTimes",
    "KvCacheDtype",
    "Model",
    "check_tensor_parallel",
    "gpu_file",
    "kv_blocks",
    "kv_heads_per_gpu",
    "list_gpus",
    "list_hosts",
    "list_models",
    "load_gpu",
    "load_host",
    "load_model",
    "model_file",
    "overhead_bytes",
    "profiles_dir",
    "read_record",
]

Record = TypeVar("Record", bound=BaseModel)
PROFILES_KEPT = 512  #: more than are shipped
#: of a checkpoint's name, what says how it was trained further and not what its sizes are
VARIANT = re.compile(r"-(instruct|chat|it|hf|base|thinking|pt|v\d\.\d|\d{4}|bf16|distill|dynamic|terminus)(?=-|$)")
#: later checkpoints of the same sizes, by how their names begin
SAME_SIZES = {
    "llama-3.3-70b": "llama-3.1-70b",
    "deepseek-r1-distill-llama-70b": "llama-3.1-70b",
    "deepseek-r1-distill-llama-8b": "llama-3.1-8b",
    "deepseek-v3.1": "deepseek-v3",
}


class HostTimes(Profile):
    """Seconds outside the GPU: of the engine's loop for each step, and of the API server in front of it."""

    step_s: Time = 0.0  #: each step
    sequence_s: Time = 0.0  #: each sequence in a step, prefilling or decoding; so also each output token
    serial_step_s: Time = 0.0  #: each step, what asynchronous scheduling cannot overlap: sampling, launching
    serial_sequence_s: Time = 0.0  #: as much again for each sequence in it
    request_s: Time = 0.0  #: from a request's sending to its entering the engine's queue
    prompt_token_s: Time = 0.0  #: as much again for each token of the prompt
    response_s: Time = 0.0  #: from a token's emission to its reaching the client
    output_token_s: Time = 0.0  #: before that, each token of an instance, one after the other
    eager_step_s: Time = 0.0  #: each step of more tokens than the largest CUDA graph, whose kernels the host launches
    max_cudagraph_capture_size: Count | None = None  #: tokens of the largest graph; vLLM: min(2 x max_num_seqs, 512)

    @model_validator(mode="after")
    def _both_or_neither(self) -> HostTimes:
        if (self.eager_step_s > 0) != (self.max_cudagraph_capture_size is not None):
            raise ValueError("eager_step_s and max_cudagraph_capture_size belong together; expected both or neither")
        return self


class HostProfile(HostTimes):
    """A host's times as they were fitted, and where."""

    name: str
    provenance: Provenance


#: what drivers and clouds put around the name of a GPU
MAKER = re.compile(
    r"^(nvidia|amd|tesla|geforce|instinct)-(geforce-|instinct-|tesla-)?|-(hbm\d\w*|gddr\d\w*|pcie-gen\d)$"
)


def list_gpus() -> list[str]:
    """Names of the GPUs that have a profile."""
    return names_of("gpus")


def list_models() -> list[str]:
    """Names of the models that have a profile."""
    return names_of("models")


def list_hosts() -> list[str]:
    """Names of the hosts that have a profile."""
    return names_of("hosts")


def load_gpu(name: str) -> Gpu:
    """Return the GPU of this name or alias, whatever its case, or the one in this .toml file.

    InputError names the nearest known.
    """
    return _read(Gpu, gpu_file(name))


def gpu_file(name: str) -> Path:
    """Return the file that `load_gpu` reads. InputError names the nearest known."""
    if name.endswith(".toml"):
        return Path(name)
    wanted, known = name.lower().replace("_", "-").replace(" ", "-"), list_gpus()
    if wanted in known:
        return _shipped("gpus", wanted)
    called: dict[str, Path] = {}
    for path in (_shipped("gpus", one) for one in known):
        called |= dict.fromkeys(read_toml(path).get("aliases", ()), path)
    bare = MAKER.sub("", wanted)  # as drivers print it: NVIDIA H100 80GB HBM3
    for spelling in (wanted, bare, wanted.replace("-", ""), bare.replace("-", "")):
        if spelling in called or spelling in known:
            return called.get(spelling) or _shipped("gpus", spelling)
    raise InputError(f"no gpu profile named '{name}'{nearest(wanted, [*known, *called])}")


def load_model(name: str, called: str | None = None) -> Model:
    """Return the model of this name, or the one in this .toml or config.json file, and call it `called`.

    Names of checkpoints lead to the profile of their sizes: meta-llama/Llama-3.1-8B-Instruct to llama-3.1-8b.
    InputError names the nearest known.
    """
    path = model_file(name)
    if path.suffix == ".json":
        return read_hf_config(path, called)
    model = _read(Model, path)
    return model if called is None else model.model_copy(update={"name": called})


def model_file(name: str) -> Path:
    """Return the file that `load_model` reads. InputError names the nearest known."""
    if name.endswith((".json", ".toml")):
        return Path(name)
    known = list_models()
    found = next((one for one in _spellings(name) if one in known), None)
    if found is None:
        raise InputError(f"no model profile named '{name}'{nearest(_spellings(name)[-1], known)}")
    return _shipped("models", found)


def load_host(name: str) -> HostProfile:
    """Return the host of this name, or the one in this .toml file. InputError names the nearest known."""
    if name.endswith(".toml"):
        return read_record(HostProfile, read_toml(Path(name)), name)
    if name not in list_hosts():
        raise InputError(f"no host profile named '{name}'{nearest(name, list_hosts())}")
    return _read(HostProfile, _shipped("hosts", name))


def _spellings(name: str) -> list[str]:
    """A model's name as given, in small letters, without its owner, and without what leaves sizes as they are."""
    own = name.lower().rpartition("/")[2].removeprefix("meta-").replace("_", "-")
    plain = next((same + own.removeprefix(one) for one, same in SAME_SIZES.items() if own.startswith(one)), own)
    while (shorter := VARIANT.sub("", plain)) != plain:
        plain = shorter
    return [name, own, plain]


def _shipped(kind: str, name: str) -> Path:
    return profiles_dir() / kind / f"{name}.toml"


def _read(cls: type[Record], path: Path) -> Record:
    """Read a shipped profile, once for as long as its file stays as it is."""
    try:
        there = path.stat()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    record: Record = _read_once(cls, path, there.st_mtime_ns, there.st_size)
    return record


@lru_cache(maxsize=PROFILES_KEPT)
def _read_once(cls: type[Record], path: Path, changed_ns: int, size_bytes: int) -> Any:
    """The record of a file, which the time of its last change and its size stand for."""
    return read_record(cls, read_toml(path), str(path))
