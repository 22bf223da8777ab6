"""What a GPU and a model are, in numbers: read from hardware_profiles/, one TOML file for each."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmsim.errors import InputError, nearest

#: bytes that no KV block gets: CUDA graphs, NCCL and library workspaces (assumed; see `kv_blocks`)
WORKSPACE_BYTES = 1 << 30

Count = Annotated[int, Field(gt=0)]
Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Record = TypeVar("Record", bound=BaseModel)


class Profile(BaseModel):
    """A frozen record from a file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Provenance(Profile):
    """Where the numbers of a profile come from."""

    source: Annotated[str, Field(min_length=1)]
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]  #: when they were taken down, YYYY-MM-DD
    price: str | None = None


class Gpu(Profile):
    """One GPU, from its data sheet. Peak rates are dense; efficiencies belong to the latency models."""

    name: str
    memory_bytes: Count  #: what CUDA reports as total, not what the label says
    memory_bandwidth_bytes_per_s: Amount
    bf16_flop_per_s: Amount
    interconnect_bytes_per_s: Amount  #: between GPUs of one node, one direction
    price_usd_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    operator_tables: str | None = None  #: folder of measured operators in aiconfigurator's data
    provenance: Provenance


class Model(Profile):
    """A dense transformer with grouped-query attention. Names of keys are those of Hugging Face and vLLM."""

    name: str
    hidden_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count
    head_dim: Count
    intermediate_size: Count
    vocab_size: Count
    max_model_len: Count  #: tokens
    tie_word_embeddings: bool = False
    gated_mlp: bool = True  #: gate and up projection; False: one projection up
    other_parameters: Annotated[int, Field(ge=0)] = 0  #: biases, query/key norms, learned positions
    weight_bytes_per_parameter: Amount = 2
    kv_bytes_per_value: Amount = 2
    provenance: Provenance

    @property
    def query_size(self) -> int:
        """Width of the query and of the attention output, elements."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of the keys (and as much again for the values), elements."""
        return self.num_key_value_heads * self.head_dim

    @property
    def mlp_projections_up(self) -> int:
        """Matrices from the hidden to the intermediate size: gate and up, or up alone."""
        return 2 if self.gated_mlp else 1

    @property
    def parameters(self) -> int:
        """Number of parameters, with embeddings; `other_parameters` included."""
        h = self.hidden_size
        attention = 2 * h * self.query_size + 2 * h * self.kv_size
        mlp = (self.mlp_projections_up + 1) * h * self.intermediate_size
        embeddings = (1 if self.tie_word_embeddings else 2) * self.vocab_size * h
        return embeddings + self.num_hidden_layers * (attention + mlp + 2 * h) + h + self.other_parameters

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, before any split across GPUs."""
        return int(self.parameters * self.weight_bytes_per_parameter)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values that one token keeps in memory, over all layers and GPUs."""
        return int(2 * self.num_hidden_layers * self.kv_size * self.kv_bytes_per_value)

    @classmethod
    def from_hf_config(cls, path: Path | str) -> Model:
        """Read the config.json of a dense Hugging Face model; the name is that of its folder.

        Raises InputError for a file that is not one, for mixtures of experts and for latent attention.
        """
        config = _read_json(Path(path))
        _refuse_what_is_not_dense(config, path)
        heads = config.get("num_attention_heads")
        known: dict[str, Any] = {
            "name": Path(path).resolve().parent.name.lower(),
            "num_key_value_heads": heads,
            "max_model_len": config.get("max_position_embeddings"),
            "gated_mlp": config.get("hidden_act", "silu") in ("silu", "gelu_pytorch_tanh"),
            "provenance": {"source": f"{path}", "date": _modified(Path(path))},
        }
        if isinstance(heads, int) and heads > 0 and isinstance(config.get("hidden_size"), int):
            known["head_dim"] = config["hidden_size"] // heads
        same = cls.model_fields.keys() - known.keys() | {"num_key_value_heads", "head_dim"}
        known |= {key: config[key] for key in same if config.get(key) is not None}
        return read_record(cls, known, str(path))


class HostTimes(Profile):
    """Seconds outside the GPU: of the engine's loop for each step, and of the API server in front of it."""

    step_s: Time = 0.0  #: each step
    sequence_s: Time = 0.0  #: each sequence in a step, prefilling or decoding; so also each output token
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


def _refuse_what_is_not_dense(config: Mapping[str, Any], path: Path | str) -> None:
    for key in ("num_experts", "num_local_experts", "n_routed_experts", "kv_lora_rank"):
        if config.get(key):
            raise InputError(f"{path}: {key} = {config[key]}, expected a dense model with grouped-query attention")


def _modified(path: Path) -> str:
    import datetime

    return datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()


def read_record(cls: type[Record], data: Mapping[str, Any], where: str) -> Record:
    """Validate `data` as a `cls`; InputError naming `where`, the key and the nearest known one."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise InputError(f"{where}: unknown key {key}{nearest(key, cls.model_fields)}") from None
        if first["type"] == "missing":
            raise InputError(f"{where}: {key} is missing") from None
        if not key:
            raise InputError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
        said = first["msg"].removeprefix("Input should be ")
        raise InputError(f"{where}: {key} = {first['input']!r}, expected {said}") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object")
    return data


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not TOML ({error})") from None


def profiles_dir() -> Path:
    """Folder hardware_profiles: inside an installed wheel, else beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_data" / "hardware_profiles"
    return installed if installed.is_dir() else package.parent / "hardware_profiles"


def list_gpus() -> list[str]:
    """Names of the GPUs that have a profile."""
    return _names("gpus")


def list_models() -> list[str]:
    """Names of the models that have a profile."""
    return _names("models")


def list_hosts() -> list[str]:
    """Names of the hosts that have a profile."""
    return _names("hosts")


def _names(kind: str) -> list[str]:
    return sorted(path.stem for path in (profiles_dir() / kind).glob("*.toml"))


def load_gpu(name: str) -> Gpu:
    """Return the GPU with this name, or the one in this .toml file. InputError names the nearest known."""
    return _load(Gpu, "gpus", name)


def load_model(name: str) -> Model:
    """Return the model with this name, or the one in this .toml or config.json file."""
    if name.endswith(".json"):
        return Model.from_hf_config(name)
    return _load(Model, "models", name)


def load_host(name: str) -> HostProfile:
    """Return the host with this name, or the one in this .toml file."""
    return _load(HostProfile, "hosts", name)


def _load(cls: type[Record], kind: str, name: str) -> Record:
    if name.endswith(".toml"):
        return read_record(cls, _read_toml(Path(name)), name)
    if name not in _names(kind):
        raise InputError(f"no {kind.removesuffix('s')} profile named '{name}'{nearest(name, _names(kind))}")
    path = profiles_dir() / kind / f"{name}.toml"
    return read_record(cls, _read_toml(path), str(path))


def check_tensor_parallel(model: Model, tensor_parallel_size: int) -> None:
    """InputError unless the model's query heads can be dealt out evenly to that many GPUs."""
    if tensor_parallel_size < 1 or model.num_attention_heads % tensor_parallel_size:
        raise InputError(
            f"tensor_parallel_size = {tensor_parallel_size}, expected a divisor of the "
            f"{model.num_attention_heads} attention heads of {model.name}"
        )


def kv_heads_per_gpu(model: Model, tensor_parallel_size: int) -> int:
    """Key-value heads that one GPU keeps; with fewer heads than GPUs, they are copied."""
    return max(1, model.num_key_value_heads // tensor_parallel_size)


def overhead_bytes(model: Model, tensor_parallel_size: int, max_num_batched_tokens: int) -> int:
    """Bytes on one GPU that are neither weights nor KV blocks: workspace and the largest step's activations.

    Assumed: 1 GiB, and for each token of the largest step four rows of the hidden size, queries, keys, values
    and the MLP's intermediate, in 2 bytes each. vLLM measures this with a dummy step.
    """
    shared = model.query_size + 2 * model.kv_size + model.mlp_projections_up * model.intermediate_size
    per_token = 2 * (4 * model.hidden_size + shared // tensor_parallel_size)
    return WORKSPACE_BYTES + max_num_batched_tokens * per_token


def kv_blocks(
    gpu: Gpu,
    model: Model,
    *,
    tensor_parallel_size: int = 1,
    gpu_memory_utilization: float = 0.9,
    block_tokens: int = 16,
    max_num_batched_tokens: int = 8192,
) -> int:
    """KV blocks of one instance: what vLLM gets from the memory that weights and activations leave.

    (memory × utilization - weights / TP - `overhead_bytes`) / bytes of a block on one GPU, rounded down.
    Raises InputError with the numbers when not a single block fits.
    """
    check_tensor_parallel(model, tensor_parallel_size)
    if not 0 < gpu_memory_utilization <= 1:
        raise InputError(f"gpu_memory_utilization = {gpu_memory_utilization}, expected above 0 and at most 1")
    weights = model.weight_bytes / tensor_parallel_size
    overhead = overhead_bytes(model, tensor_parallel_size, max_num_batched_tokens)
    usable = gpu.memory_bytes * gpu_memory_utilization
    per_layer = 2 * kv_heads_per_gpu(model, tensor_parallel_size) * model.head_dim * model.kv_bytes_per_value
    blocks = int((usable - weights - overhead) // (per_layer * model.num_hidden_layers * block_tokens))
    if blocks < 1:
        raise InputError(
            f"{model.name} does not fit {tensor_parallel_size} x {gpu.name}: {weights / 1e9:.1f} GB "
            f"of weights and {overhead / 1e9:.1f} GB for activations per GPU, but gpu_memory_utilization = "
            f"{gpu_memory_utilization} leaves {usable / 1e9:.1f} GB; raise tensor_parallel_size"
        )
    return blocks
