"""How a rival on this machine does on the same work: AISimulate, NVIDIA's, by its command `aisimulate predict`.

Both count CPU time, whatever else the machine does. AISimulate's is that of a run less that of a run of a fifth of the
requests, so that its start counts as little as ours does.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from llmsim.errors import InputError, LlmsimError
from llmsim.scenario import Scenario
from llmsim.scenario.workload import SyntheticWorkload, TraceWorkload
from llmsim.studies.bench import suites
from llmsim.studies.bench.against import RUNS_IN_A_PROCESS, Runs, Version, ask, worker
from llmsim.studies.bench.suites import Watch

COMMAND = "aisimulate"
#: workloads that both can be given
WORKLOADS = ("fixed", "mooncake", "mooncake-caching")
REQUESTS = 20_000  #: fewer take less time than AISimulate takes to start
START_SHARE = 5  #: the run that tells what starting costs has so many times fewer requests
BLOCK_TOKENS = 512  #: of Mooncake's hash ids
GPUS = {"h100-sxm-80gb": "h100_sxm"}
MODELS = {"llama-3.1-8b": "meta-llama/Meta-Llama-3.1-8B"}


@dataclass(frozen=True, slots=True)
class Peer:
    """A rival's command."""

    command: str

    @classmethod
    def at(cls, path: Path | None) -> Peer:
        """The one at a path, or the one that a shell would find; InputError, in a line, where there is none."""
        found = shutil.which(COMMAND if path is None else path)
        if found is None:
            where = "none is installed here" if path is None else f"{path} is no command"
            raise InputError(
                f"bench peers: needs AISimulate, and {where}: pip install --pre aisimulate in an environment of its "
                "own, then --peer FOLDER/bin/aisimulate"
            )
        return cls(found)


@dataclass(frozen=True, slots=True)
class VersusPeer:
    """One workload in llmsim and in a rival."""

    requests: int
    ours: Runs
    peer_requests_per_s: float  #: of CPU time

    @property
    def requests_per_s(self) -> float:
        """Ours, of CPU time."""
        return self.requests / min(self.ours.cpu_s)

    @property
    def times_faster(self) -> float:
        """How many times as many requests a second."""
        return self.requests_per_s / self.peer_requests_per_s


def beside(
    peer: Peer, names: Sequence[str], *, requests: int = REQUESTS, trace: Path | None, repeat: int, watch: Watch
) -> dict[str, VersusPeer]:
    """Run workloads in llmsim and in a rival in turn, `repeat` times; the least CPU times count."""
    scenarios, _ = suites.scenarios(list(names), trace, requests, skip=False)
    found = {}
    with watch("both simulators") as progress:
        for done, (name, described) in enumerate(scenarios.items()):
            ours, theirs_s = Runs(), []
            for turn in range(repeat):
                with worker(Version.this(), requests, trace) as process:
                    for _ in range(RUNS_IN_A_PROCESS):
                        ours.add(ask(process, name))
                theirs_s.append(_peer_s(peer, described, requests))
                progress(done * repeat + turn + 1, repeat * len(scenarios))
            if ours.error:
                raise LlmsimError(f"bench peers: {name}: {ours.error}")
            whole_s, start_s = (min(times) for times in zip(*theirs_s, strict=True))
            rate = (requests - requests // START_SHARE) / (whole_s - start_s) if whole_s > start_s else float("nan")
            found[name] = VersusPeer(requests, ours, rate)
    return found


def _peer_s(peer: Peer, described: Scenario, requests: int) -> tuple[float, float]:
    """Seconds of CPU time of a run, and of one with few requests."""
    with TemporaryDirectory() as folder:
        whole, few = (_cpu_s(peer, described, n, Path(folder)) for n in (requests, requests // START_SHARE))
    return whole, few


def _cpu_s(peer: Peer, described: Scenario, requests: int, folder: Path) -> float:
    config = folder / "config.yaml"
    config.write_text(json.dumps(question(described, requests, folder)))  # JSON is YAML
    command = [peer.command, "predict", "-c", str(config), "--output-dir", str(folder / "out"), "--overwrite"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = (said.strip().splitlines() or ["nothing"])[-1]
        raise LlmsimError(f"bench peers: {peer.command} failed; it says: {last}")
    return used.ru_utime + used.ru_stime


def question(described: Scenario, requests: int, folder: Path) -> dict[str, Any]:
    """Ask AISimulate for the first so many requests of a scenario; a trace is written into the folder, unpacked."""
    workload, cluster = described.workload, described.cluster
    assert isinstance(workload, SyntheticWorkload | TraceWorkload)
    options = described.scheduler.options
    return {
        "traffic": _trace(workload, requests, folder)
        if isinstance(workload, TraceWorkload)
        else _drawn(workload, requests),
        "engine": {
            "mode": "aggregated",
            "model": MODELS[cluster.model],
            "hardware": GPUS[cluster.gpu],
            "backend": "vllm",
            "workers": {
                "aggregated": {
                    "parallelism": {"replicas": cluster.instances, "tensor": cluster.tensor_parallel_size},
                    "scheduler": {
                        "max_batched_tokens": options["max_num_batched_tokens"],
                        "max_sequences": options["max_num_seqs"],
                    },
                    "kv_cache": {"block_size": 16, "prefix_caching": bool(cluster.prefix_caching)},
                }
            },
        },
    }


def _drawn(workload: SyntheticWorkload, requests: int) -> dict[str, Any]:
    """Requests all alike, with Poisson arrivals."""
    lengths, arrivals = workload.lengths.model_dump(), workload.arrivals.model_dump()
    tokens = {"input_tokens": lengths["prompt_tokens"], "output_tokens": lengths["output_tokens"]}
    return {
        "source": {"type": "synthetic", **tokens},
        "load": {"type": "poisson", "requests_per_second": arrivals["rate_per_s"], "seed": 0},
        "stop": {"requests": requests},
    }


def _trace(workload: TraceWorkload, requests: int, folder: Path) -> dict[str, Any]:
    given, cut = Path(workload.trace), folder / "trace.jsonl"
    opened = gzip.open if given.suffix == ".gz" else open
    with opened(given, "rt") as rows, cut.open("w") as few:
        few.writelines(islice(rows, requests))
    source = {"type": "trace", "paths": [str(cut)], "format": "mooncake", "block_size": BLOCK_TOKENS}
    return {"source": source, "load": {"type": "trace_timestamps"}}
