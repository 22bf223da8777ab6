"""A point's key: the hash of everything that its numbers depend on.

That is the scenario as resolved, the trace and profiles that it reads, a scheduler from elsewhere, and the code of
llmsim itself. What is the same has the same key, whichever sweep asks for it; what changed in any of it is run anew.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import llmsim
from llmsim import discovery
from llmsim.experiment.instances import make_latency_source
from llmsim.experiment.own_files import NO_FILES, OwnClasses, OwnFiles
from llmsim.latency import hardware
from llmsim.latency.build import SOURCES
from llmsim.latency.contract import LatencySource
from llmsim.latency.profile import find_profile
from llmsim.metrics import catalogue
from llmsim.scenario import Scenario, ServeGenWorkload, TraceWorkload
from llmsim.scheduler import Scheduler
from llmsim.workload.servegen_files import client_files

#: keys that name a profile, or a file with one
PROFILES = ("gpu", "model")
#: rooms of the package that no number of a run goes through
UNREAD_ROOMS = frozenset(
    {"__main__.py", "cli", "figures", "interop", "library", "plots.py", "reports", "studies", "testing"}
)


def key_of(scenario: Scenario, own: OwnFiles = NO_FILES) -> str:
    """Return the key of a run, 32 hexadecimal digits; `own` are files of the command line."""
    parts: dict[str, Any] = {
        "llmsim": llmsim.__version__,
        "code": code_hash(),
        "scenario": json.loads(scenario.model_dump_json()),
        "reads": {what: _hash_of(file) for what, file in files_of(scenario, own).items()},
    }
    if isinstance(scenario.workload, TraceWorkload):
        del parts["scenario"]["workload"]["trace"]  # its content counts, wherever it lies
    if isinstance(scenario.workload, ServeGenWorkload):
        del parts["scenario"]["workload"]["servegen"]
    return _digest(json.dumps(parts, sort_keys=True).encode())


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Hash the code and data of the package, as far as runs depend on it: a checkout changes between versions."""
    package = Path(llmsim.__file__).parent
    files = [
        file
        for suffix in ("py", "json")
        for file in package.rglob(f"*.{suffix}")
        if file.relative_to(package).parts[0] not in UNREAD_ROOMS | {"_data"}
    ]
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(f"{file.relative_to(package).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return whole.hexdigest()[:32]


def is_file_name(profile: object) -> bool:
    """Whether the name of a profile is that of a file."""
    return isinstance(profile, str) and profile.endswith((".toml", ".json"))


def files_of(scenario: Scenario, own: OwnFiles) -> dict[str, Path]:
    """What a run reads besides the scenario."""
    found: dict[str, Path] = {}
    for number, (pool, cluster) in enumerate(scenario.pools):
        found[f"gpu {number}"] = hardware.gpu_file(cluster.gpu)
        found[f"model {number}"] = hardware.model_file(cluster.model)
        if cluster.latency.name == "table" and not cluster.latency.options:
            state = "".join(_hash_of(found[f"{kind} {number}"]) for kind in PROFILES)
            found[f"steps {number}"] = _steps(
                cluster.gpu,
                cluster.model,
                cluster.kv_cache_dtype,
                cluster.tensor_parallel_size,
                cluster.data_parallel_size,
                state,
            )
        for host in (scenario.host.profile, pool.host.profile):
            if host is not None:
                found[f"host {host}"] = _profile("hosts", host)
        name = pool.scheduler.name
        if name is not None and (policy := _plugin("llmsim.schedulers", name)) is not None:
            found[f"scheduler {number}"] = policy
        found |= _of_latency(scenario, number, own)
    if isinstance(scenario.workload, TraceWorkload):
        found["trace"] = Path(scenario.workload.trace)
    if isinstance(scenario.workload, ServeGenWorkload):
        clients = Path(scenario.workload.servegen)
        if clients.is_dir():
            found |= {f"servegen {file.relative_to(clients).as_posix()}": file for file in client_files(clients)}
        else:
            found["servegen"] = clients
    policy = own.scheduler or _plugin("llmsim.schedulers", scenario.scheduler.name)
    if policy is not None:
        found["scheduler"] = policy
    if own.latency is not None:
        found["latency"] = own.latency
    return found | _of_metrics()


def _of_metrics() -> dict[str, Path]:
    """Files of the metrics that installed packages bring."""
    codes = ((section.__module__, _from_outside(section)) for section in catalogue.sections())
    return {f"metric {name}": code for name, code in codes if code is not None}


def _profile(folder: str, name: str) -> Path:
    return Path(name) if is_file_name(name) else hardware.profiles_dir() / folder / f"{name}.toml"


@lru_cache(maxsize=256)
def _steps(
    gpu: str, model: str, kv_cache_dtype: str, tensor_parallel_size: int, data_parallel_size: int, state: str
) -> Path:
    """The file of measured step times; GPU and model are what their profiles, in this state, say."""
    served = hardware.load_model(model).with_kv_cache(kv_cache_dtype)
    served = served.over(tensor_parallel_size, None, data_parallel_size)
    return find_profile(hardware.load_gpu(gpu), served, tensor_parallel_size)


def _of_latency(scenario: Scenario, number: int, own: OwnFiles) -> dict[str, Path]:
    """Files of the step times of a pool: what their source reads, and its code if an installed package brings it."""
    source = make_latency_source(scenario, number, _loaded(own).get("latency"))
    found = {f"latency {number} {file}": file for file in source.files}
    if own.latency is None and (code := _plugin(SOURCES, scenario.pools[number][1].latency.name)) is not None:
        found[f"latency {number}"] = code
    return found


@lru_cache(maxsize=4)
def _loaded(own: OwnFiles) -> OwnClasses:
    return own.load()


@lru_cache(maxsize=64)
def _plugin(package: str, name: str) -> Path | None:
    """The file of a scheduler, or a source of step times, that an installed package brings."""
    policy: type = discovery.find(package, name, LatencySource if package == SOURCES else Scheduler)
    return _from_outside(policy)


def _from_outside(kind: type) -> Path | None:
    """The file of a class that an installed package brings; None for llmsim's own."""
    if kind.__module__.startswith("llmsim."):
        return None
    file = inspect.getsourcefile(kind)
    return None if file is None else Path(file)


def _hash_of(file: Path) -> str:
    said = file.stat()
    return _content(str(file), said.st_mtime_ns, said.st_size)


@lru_cache(maxsize=4096)
def _content(file: str, changed_ns: int, size: int) -> str:
    """Hash a file, once for each state of it."""
    return _digest(Path(file).read_bytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
