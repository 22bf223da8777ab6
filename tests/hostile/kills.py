"""Kill commands in the midst of what they do, run them again, and compare with what an undisturbed run leaves.

Killed is the command, a worker process of it, a worker or the scheduler of a Dask cluster, or its disk is full. The
code must not change meanwhile: runs are named by it.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hostile import victims
from tests.hostile.good_files import SCENARIO
from tests.hostile.victims import DaskCluster, Running

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
#: what differs between two equal runs: how long they took, and checksums of that; pictures are made of the rest
TIMED = ("score.json", "seal.json", "sweep.json")
SIZE = ("--set", "workload.requests=3000", "--set", "workload.arrivals.rate_per_s=20.0")
RUN = ("run", "small.toml", *SIZE)
SWEEP = ("sweep", "small.toml", *SIZE, "--seeds", "3")
COMPARE = ("compare", "small.toml", *SIZE, "--schedulers", "fcfs,chunked_prefill", "--seeds", "2")
PLAN = ("plan", "small.toml")
ONE, TWO = ("--jobs", "1"), ("--jobs", "2")
LEAST_DISK_BYTES = 8192  #: for the scenario
POINTS = 6  #: of the sweep
COMMAND, WORKER, DASK_WORKER, DASK_SCHEDULER, DISK = "command", "worker", "Dask worker", "Dask scheduler", "disk full"


@dataclass(frozen=True)
class Kind:
    """A command that keeps something, and what happens to it."""

    words: tuple[str, ...]
    jobs: tuple[str, ...] = ()
    victim: str = COMMAND

    @property
    def fresh(self) -> bool:
        """Whether it needs a Python of its own, since it starts processes or threads."""
        return self.jobs == TWO or self.victim in (DASK_WORKER, DASK_SCHEDULER)

    @property
    def alone(self) -> Kind:
        """The same command with nothing done to it, and without Dask, which gives the same."""
        return Kind(self.words, ONE if self.victim in (DASK_WORKER, DASK_SCHEDULER) else self.jobs)

    def __str__(self) -> str:
        return " ".join([self.words[0], *self.jobs, *([self.victim] if self.victim != COMMAND else [])])


#: in turn; the costly ones less often
KINDS = (
    *(Kind(RUN), Kind(COMPARE, ONE), Kind(PLAN, ONE), Kind(SWEEP, TWO), Kind(RUN, (), DISK)),
    *(Kind(RUN), Kind(COMPARE, ONE), Kind(PLAN, ONE), Kind(SWEEP, TWO, WORKER), Kind(SWEEP, ONE, DISK)),
    *(Kind(RUN), Kind(SWEEP, ONE), Kind(COMPARE, TWO), Kind(SWEEP, (), DASK_WORKER), Kind(COMPARE, ONE, DISK)),
    *(Kind(RUN), Kind(PLAN, TWO, WORKER), Kind(COMPARE, TWO, WORKER), Kind(SWEEP, (), DASK_SCHEDULER)),
    Kind(PLAN, ONE, DISK),
)


@dataclass(frozen=True)
class Killed:
    """What came of one kill."""

    kind: str
    how: str  #: the signal, or what else happened
    share: float  #: of the time that it simulates and writes, of the points, or of the bytes
    code: int
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Undisturbed:
    """What a command leaves when nothing happens to it."""

    place: Path
    begins_s: float  #: CPU time until it simulates
    takes_s: float  #: CPU time in all

    @property
    def out(self) -> Path:
        """Its result."""
        return self.place / "out"

    @property
    def bytes(self) -> int:
        """Of all files that it leaves."""
        return sum(file.stat().st_size for file in self.place.rglob("*") if file.is_file())


class Kills:
    """Kills commands, each at a random moment."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._rng = folder, random.Random(seed)
        self._known: dict[Kind, Undisturbed] = {}
        self._cluster: DaskCluster | None = None

    def kill(self, kind: Kind, number: int) -> Killed:
        """Kill a command of this kind; say what was lost, or is not the same."""
        expected, share = self._undisturbed(kind), self._rng.random()
        place = self._folder / f"kill-{number}"
        place.mkdir()
        with contextlib.ExitStack() as stack:
            most = int(share * expected.bytes) if kind.victim == DISK else None
            if most is not None and stack.enter_context(victims.small_disk(place, most + LEAST_DISK_BYTES)):
                most = None  # the disk limits them all, in place of each file by itself
            _lay_out(place)
            killed = self._started(kind, place, most)
            how = self._disturb(kind, killed, expected, share)
            faults = _of_the_end(kind, killed, expected.place)
            if kind.victim == DISK:
                victims.grow(place)
            again = self._started(kind.alone, place)
            if again.wait() != 0:
                faults.append(f"the same command fails afterwards: {again.said[-200:]}")
            faults += differences(expected.place, place)
        shutil.rmtree(place)
        assert killed.code is not None
        return Killed(str(kind), how, share, killed.code, tuple(faults))

    def close(self) -> None:
        """End the Dask cluster."""
        if self._cluster is not None:
            self._cluster.close()

    def _undisturbed(self, kind: Kind) -> Undisturbed:
        """Run a command once, and one that hardly simulates, for when it begins to."""
        alone = kind.alone
        if alone not in self._known:
            place = self._folder / f"undisturbed-{len(self._known)}"
            place.mkdir()
            _lay_out(place)
            little = Running([*RUN[:2], "--json"], place, self._said, fresh=alone.fresh)
            whole = little if little.wait() else self._started(alone, place)
            if whole.wait():
                raise RuntimeError(f"{alone} fails: {whole.said}")
            begins_s = min(little.cpu_s * (3 if alone.jobs == TWO else 1), 0.5 * whole.cpu_s)
            self._known[alone] = Undisturbed(place, begins_s, whole.cpu_s)
        return self._known[alone]

    @property
    def _said(self) -> Path:
        return self._folder / "said"

    def _started(self, kind: Kind, place: Path, most_file_bytes: int | None = None) -> Running:
        words = [*kind.words, *kind.jobs, "--out", "out"]
        if kind.victim in (DASK_WORKER, DASK_SCHEDULER):
            words += ["--dask", self._dask().address]
        return Running(words, place, self._said, fresh=kind.fresh, most_file_bytes=most_file_bytes)

    def _dask(self) -> DaskCluster:
        if self._cluster is not None and not self._cluster.alive:
            self._cluster.close()
            self._cluster = None
        self._cluster = self._cluster or DaskCluster()
        return self._cluster

    def _disturb(self, kind: Kind, killed: Running, expected: Undisturbed, share: float) -> str:
        """Do to it what the kind says, at its moment; return what that was. It has ended then."""
        number, how = self._rng.choice(SIGNALS), kind.victim
        if kind.victim in (COMMAND, WORKER):
            killed.wait_for(expected.begins_s + share * (expected.takes_s - expected.begins_s))
        if kind.victim == COMMAND:
            everyone = number == signal.SIGINT and self._rng.random() < 0.5
            how = f"{number.name}{' of all' * everyone}"
            killed.send(number, everyone=everyone)
        elif kind.victim == WORKER:
            self._kill_one(victims.workers(killed.pid))
        elif kind.victim in (DASK_WORKER, DASK_SCHEDULER):
            cluster = self._dask()
            while not killed.ended() and _points(killed.place) < int(POINTS * share):
                time.sleep(0.01)
            time.sleep(self._rng.uniform(0, 0.3))
            self._kill_one(cluster.worker_pids() if kind.victim == DASK_WORKER else [cluster.scheduler_pid])
        killed.wait()
        return how

    def _kill_one(self, pids: list[int]) -> None:
        if pids:
            victims.kill(self._rng.choice(pids))


def kills(folder: Path, count: int, seed: int) -> Iterator[Killed]:
    """Kill so many commands, of all kinds in turn; yield what came of each."""
    doing = Kills(folder, seed)
    try:
        for number in range(count):
            yield doing.kill(KINDS[number % len(KINDS)], number)
    finally:
        doing.close()


def _lay_out(place: Path) -> None:
    (place / "small.toml").write_text(SCENARIO, encoding="utf-8")


def _points(place: Path) -> int:
    return len(list((place / "out" / "points").glob("*.json")))


def _of_the_end(kind: Kind, killed: Running, expected: Path) -> list[str]:
    """Say what must not be once a command was disturbed."""
    out = killed.place / "out"
    found = [f"process {pid} goes on" for pid in killed.left_behind()]
    if killed.cut_off:
        found.append(f"goes on after {victims.LIMIT_S:g} s: {killed.said[-200:]}")
    if "Traceback" in killed.said:
        found.append(f"a traceback: {killed.said[killed.said.index('Traceback') :][:1500]}")
    if killed.code not in (0, 2, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
        found.append(f"exit code {killed.code}: {killed.said[-200:]}")
    # no signal is sent before our code runs; Python's own end, once all is done, is the one moment that is not ours
    if killed.code == -signal.SIGINT and (unfinished := differences(expected, killed.place)):
        found.append(f"ended by SIGINT before it was done: {unfinished[0]}; it said {killed.said[-200:]!r}")
    if killed.code == 130 and not killed.said.rpartition("\n")[2].startswith("error: interrupted"):
        found.append(f"says not that it was interrupted: {killed.said[-200:]}")
    if killed.code == 2 and not any(line.startswith("error: ") for line in killed.said.splitlines()[-1:]):
        found.append(f"says no error: {killed.said[-200:]}")
    if kind.words[0] != "sweep" and out.exists() and not (out / "seal.json").is_file():
        found.append(f"a folder without a seal: {sorted(file.name for file in out.iterdir())}")
    return found


def differences(expected: Path, found: Path) -> list[str]:
    """Compare all that two folders hold: names, and the data byte by byte but for the times that commands took."""
    names, there = ({file.relative_to(place) for file in place.rglob("*")} for place in (expected, found))
    faults = [f"{name} is missing" for name in sorted(names - there)]
    faults += [f"{name} is too many" for name in sorted(there - names)]
    for name in sorted(names & there):
        one, two = expected / name, found / name
        if name.suffix not in (".parquet", ".json") or name.name in TIMED:
            continue
        if name.parent.name == "points":
            if _untimed(one.read_bytes()) != _untimed(two.read_bytes()):
                faults.append(f"{name} has another score")
        elif one.read_bytes() != two.read_bytes():
            faults.append(f"{name} has other bytes")
    return faults


def _untimed(data: bytes) -> object:
    kept = json.loads(data)
    del kept["score"]["wall_s"], kept["sha256"]
    return kept
