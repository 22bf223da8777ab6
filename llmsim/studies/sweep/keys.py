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
from llmsim.latency import hardware
from llmsim.latency.profile import find_profile
from llmsim.scenario import Scenario, ServeGenWorkload, TraceWorkload
from llmsim.scheduler import Scheduler
from llmsim.workload.servegen_files import client_files

#: keys that name a profile, or a file with one
PROFILES = ("gpu", "model")
#: parts of the package that no number of a run goes through
APART = frozenset(
    {
        "bench",
        "cli",
        "comparing",
        "figures",
        "interop",
        "page",
        "planning",
        "plots",
        "sweeping",
        "testing.py",
        "validation",
    }
    | {"report.py", "report_audit.py", "report_compare.py", "report_plan.py", "report_sweep.py", "report_validation.py"}
)


def key_of(scenario: Scenario, scheduler_file: Path | None = None) -> str:
    """Return the key of a run, 32 hexadecimal digits; `scheduler_file` is the policy's file, if it is not shipped."""
    parts: dict[str, Any] = {
        "llmsim": llmsim.__version__,
        "code": code_hash(),
        "scenario": json.loads(scenario.model_dump_json()),
        "reads": {what: _hash_of(file) for what, file in files_of(scenario, scheduler_file).items()},
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
        if file.relative_to(package).parts[0] not in APART | {"_data"}
    ]
    whole = hashlib.sha256()
    for file in sorted(files):
        whole.update(f"{file.relative_to(package).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return whole.hexdigest()[:32]


def is_file_name(profile: str | None) -> bool:
    """Whether the name of a profile is that of a file."""
    return profile is not None and profile.endswith((".toml", ".json"))


def files_of(scenario: Scenario, scheduler_file: Path | None) -> dict[str, Path]:
    """What a run reads besides the scenario."""
    found: dict[str, Path] = {}
    for number, (pool, cluster) in enumerate(scenario.pools):
        for kind in PROFILES:
            found[f"{kind} {number}"] = _profile(f"{kind}s", getattr(cluster, kind))
        if cluster.latency == "table":
            state = "".join(_hash_of(found[f"{kind} {number}"]) for kind in PROFILES)
            found[f"steps {number}"] = _steps(cluster.gpu, cluster.model, cluster.tensor_parallel_size, state)
        for host in (scenario.host.profile, pool.host.profile):
            if host is not None:
                found[f"host {host}"] = _profile("hosts", host)
        name = pool.scheduler.name
        if name is not None and (policy := _plugin(name)) is not None:
            found[f"scheduler {number}"] = policy
    if isinstance(scenario.workload, TraceWorkload):
        found["trace"] = Path(scenario.workload.trace)
    if isinstance(scenario.workload, ServeGenWorkload):
        clients = Path(scenario.workload.servegen)
        if clients.is_dir():
            found |= {f"servegen {file.relative_to(clients).as_posix()}": file for file in client_files(clients)}
        else:
            found["servegen"] = clients
    policy = scheduler_file or _plugin(scenario.scheduler.name)
    if policy is not None:
        found["scheduler"] = policy
    return found


def _profile(folder: str, name: str) -> Path:
    return Path(name) if is_file_name(name) else hardware.profiles_dir() / folder / f"{name}.toml"


@lru_cache(maxsize=256)
def _steps(gpu: str, model: str, tensor_parallel_size: int, state: str) -> Path:
    """The file of measured step times; GPU and model have the names that their profiles, in this state, give them."""
    return find_profile(hardware.load_gpu(gpu), hardware.load_model(model), tensor_parallel_size)


@lru_cache(maxsize=64)
def _plugin(name: str) -> Path | None:
    """The file of a scheduler that an installed package brings."""
    policy = discovery.find("llmsim.schedulers", name, Scheduler)  # type: ignore[type-abstract]
    if policy.__module__.startswith("llmsim."):
        return None
    file = inspect.getsourcefile(policy)
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
