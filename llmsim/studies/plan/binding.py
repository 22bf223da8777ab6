"""What a cluster has least of: memory, seats, or time for prefill, decoding or the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llmsim import experiment
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
        percent = {key: f"{100 * share:.0f} %" for key, share in asdict(self).items()}
        times = f"prefill takes {percent['prefill']} of the time, decoding {percent['decode']}, "
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
    result = experiment.run(scenario, **files.load())
    instance = instances_of(scenario, files)[0]
    return binding_of(result.record, instance.latency, instance.num_gpu_blocks, instance.scheduler.most_running)


def binding_of(
    record: Record, latency: LatencyModel, num_gpu_blocks: int, seats: int | None, *, until_s: float | None = None
) -> Binding:
    """See what a run had least of, from its steps until the last arrival, or a given time.

    `seats` is the most that its scheduler lets run.
    """
    came_s = np.fmax(
        record.requests["arrival_s"], record.requests.get("sent_s", record.requests["arrival_s"])
    )  # of a closed loop, the sending
    keep = record.steps["start_s"] <= (came_s.max() if until_s is None else until_s)
    steps = {name: column[keep] for name, column in record.steps.items()}
    took_s = steps["end_s"] - steps["start_s"]
    busy_s = max(float(took_s.sum()), 1e-300)
    host_s = _host_s(steps, latency)
    prefill_s = _prefill_s(steps, took_s, latency)

    def share(of_time: NDArray[np.bool_]) -> float:
        return float(took_s[of_time].sum()) / busy_s

    return Binding(
        prefill=prefill_s / busy_s,
        decode=max(0.0, busy_s - prefill_s - host_s) / busy_s,
        host=host_s / busy_s,
        memory_full=share(steps["kv_blocks_used"] > FULL_SHARE * num_gpu_blocks),
        seats_full=0.0 if seats is None else share(steps["running"] >= seats),
        preempted=float(np.mean(record.requests["preemptions"] > 0)),
    )


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
