"""What a cluster has least of: memory, seats, or time for prefill, decoding or the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llmsim import experiment
from llmsim.cluster import InstanceSpec
from llmsim.experiment.own_files import OwnFiles
from llmsim.latency.contract import LatencyModel
from llmsim.latency.host import Host
from llmsim.record import Record
from llmsim.scenario import Scenario
from llmsim.studies.plan.candidates import instances_of

#: memory or seats bind if they are full for this share of the busy time
OFTEN_SHARE = 0.5
FULL_SHARE = 0.95
#: or if this share of requests is preempted
MANY_PREEMPTED = 0.01


@dataclass(frozen=True, slots=True)
class Binding:
    """Shares of the time in which instances are busy, until the last arrival or sending."""

    prefill: float  #: that steps take longer because of the prompts in them
    decode: float  #: of steps without what prompts and the host add
    host: float  #: of the host's part, where the latency model knows it
    memory_full: float  #: with more than 95 % of KV blocks in use
    seats_full: float  #: with as many running as the scheduler allows
    preempted: float  #: share of requests
    pool: str = ""  #: of several, the one that binds

    @property
    def name(self) -> str:
        """What binds: memory or seats if they are full often, else what takes most of the time."""
        if self.memory_full >= OFTEN_SHARE or self.preempted >= MANY_PREEMPTED:
            return "memory"
        if self.seats_full >= OFTEN_SHARE:
            return "seats"
        shares = {"prefill": self.prefill, "decode": self.decode, "host": self.host}
        return max(shares, key=lambda name: shares[name])

    def __str__(self) -> str:
        percent = {key: f"{100 * share:.0f} %" for key, share in asdict(self).items() if key != "pool"}
        times = f"pool {self.pool}: " if self.pool else ""
        times += f"prefill takes {percent['prefill']} of the time, decoding {percent['decode']}, "
        times += f"the host {percent['host']}"
        full = f"KV memory is full {percent['memory_full']} of it, max_num_seqs {percent['seats_full']}"
        name = "max_num_seqs" if self.name == "seats" else self.name
        return f"{name} ({times}; {full}; {100 * self.preempted:.1f} % of requests preempted)"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"name": self.name, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote, among other keys."""
        return cls(**{name: values[name] for name in cls.__slots__})


def what_binds(scenario: Scenario, files: OwnFiles) -> Binding:
    """Run a scenario, with the classes of `files`, and see what it has least of."""
    return binding_of(experiment.run(scenario, **files.load()).record, instances_of(scenario, files))


def binding_of(record: Record, instances: Sequence[InstanceSpec], *, until_s: float | None = None) -> Binding:
    """See what a run had least of, from its steps until the last arrival, or a given time: the pool that binds.

    That is one that lacks memory or seats, such as decode keeps prompts from leaving; else the one that computes
    prompts if it is busy often: instances that decode are busy with however little.
    """
    came_s = np.fmax(
        record.requests["arrival_s"], record.requests.get("sent_s", record.requests["arrival_s"])
    )  # of a closed loop, the sending
    keep = record.steps["start_s"] <= (came_s.max() if until_s is None else until_s)
    steps = {name: column[keep] for name, column in record.steps.items()}
    pools = list(dict.fromkeys(each.pool for each in instances))
    preempted = float(np.mean(record.requests["preemptions"] > 0))
    found = [_of_pool(steps, instances, pool, preempted, named=len(pools) > 1) for pool in pools]
    full = [one for one in found if one.binding.name in ("memory", "seats")]
    if full:
        return max(full, key=lambda one: (one.role != "prefill", one.busy_s)).binding
    at_prompts = [one for one in found if one.role == "prefill" and one.busy_s >= OFTEN_SHARE * _length_s(steps)]
    return max(at_prompts or found, key=lambda one: one.busy_s).binding


@dataclass(frozen=True, slots=True)
class _Pool:
    role: str
    busy_s: float  #: of each instance
    binding: Binding


def _of_pool(
    steps: dict[str, NDArray[Any]], instances: Sequence[InstanceSpec], pool: str, preempted: float, *, named: bool
) -> _Pool:
    members = [i for i, each in enumerate(instances) if each.pool == pool]
    own, one = np.isin(steps["instance"], members), instances[members[0]]
    steps = {name: column[own] for name, column in steps.items()}
    took_s = steps["end_s"] - steps["start_s"]
    busy_s = max(float(took_s.sum()), 1e-300)
    host_s, prefill_s = _host_s(steps, one.latency), _prefill_s(steps, took_s, one.latency)
    seats = one.scheduler.most_running

    def share(of_time: NDArray[np.bool_]) -> float:
        return float(took_s[of_time].sum()) / busy_s

    binding = Binding(
        prefill=prefill_s / busy_s,
        decode=max(0.0, busy_s - prefill_s - host_s) / busy_s,
        host=host_s / busy_s,
        memory_full=share(steps["kv_blocks_used"] > FULL_SHARE * one.num_gpu_blocks),
        seats_full=0.0 if seats is None else share(steps["running"] >= seats),
        preempted=preempted,
        pool=pool if named else "",
    )
    return _Pool(one.role, busy_s / len(members), binding)


def _length_s(steps: dict[str, NDArray[Any]]) -> float:
    return float(steps["end_s"].max(initial=0.0) - steps["start_s"].min(initial=0.0))


def _prefill_s(steps: dict[str, NDArray[Any]], took_s: NDArray[np.float64], latency: LatencyModel) -> float:
    """Seconds by which steps with prompts in them take longer than they would without."""
    mixed = np.flatnonzero(steps["prefill_tokens"] > 0)
    pairs = zip(steps["decoding"][mixed].tolist(), steps["context_tokens"][mixed].tolist(), strict=True)
    without_s = [latency.step_time_s((), decoding, context) if decoding else 0.0 for decoding, context in pairs]
    return float(np.maximum(took_s[mixed] - np.array(without_s), 0.0).sum())


def _host_s(steps: dict[str, NDArray[Any]], latency: LatencyModel) -> float:
    """Seconds that the host takes for steps and decoding sequences; those that prefill count as prefill.

    Of a host that works while the GPU does, what nothing overlaps.
    """
    if not isinstance(latency, Host):
        return 0.0
    added_s = [_added_s(latency, n) if n else 0.0 for n in steps["decoding"].tolist()]
    return float((steps["steps"] * np.array(added_s)).sum())


def _added_s(host: Host, decoding: int) -> float:
    return host.serial_s(decoding) + (0.0 if host.overlapped else host.host_s(decoding, decoding))
