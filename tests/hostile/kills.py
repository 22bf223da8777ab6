"""Kill commands in the midst of what they do, run them again, and compare with what an undisturbed run leaves.

The code must not change meanwhile: points of a sweep are named by it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from places import ROOT
from tests.hostile.good_files import SCENARIO

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
#: what differs between two equal runs: how long they took, and checksums of that; pictures are made of the rest
TIMED = ("score.json", "seal.json", "sweep.json")
LONGER = ("--set", "workload.requests=6000", "--set", "workload.arrivals.rate_per_s=20.0")


@dataclass(frozen=True)
class Kind:
    """A command that keeps something."""

    name: str
    words: tuple[str, ...]
    victims: str = "command"  #: or one of its "worker" processes


KINDS = (
    Kind("run", ("run", "small.toml", *LONGER)),
    Kind("sweep", ("sweep", "small.toml", *LONGER, "--jobs", "2", "--seeds", "3")),
    Kind("sweep, a worker", ("sweep", "small.toml", *LONGER, "--jobs", "2", "--seeds", "3"), "worker"),
    Kind("compare", ("compare", "small.toml", *LONGER, "--schedulers", "fcfs,chunked_prefill")),
    Kind(
        "plan",
        (
            "plan",
            "small.toml",
        ),
    ),
)


@dataclass(frozen=True)
class Killed:
    """What came of one kill."""

    kind: str
    signal: str
    at_share: float  #: of the time that the command takes
    code: int
    faults: tuple[str, ...]


class Reference:
    """What each command leaves when nothing happens to it, and how long that takes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[Path, float]] = {}

    def of(self, kind: Kind) -> tuple[Path, float]:
        """Return the folder and the seconds of a command; run it once."""
        name = kind.name.partition(",")[0]
        if name not in self._known:
            place = self._folder / name
            place.mkdir()
            (place / "small.toml").write_text(SCENARIO, encoding="utf-8")
            started_s = time.monotonic()
            done = _started(kind, place)
            if done.wait() != 0:
                raise RuntimeError(f"{name} fails without being killed")
            self._known[name] = place / "out", time.monotonic() - started_s
        return self._known[name]


def kills(folder: Path, count: int, seed: int, told: Callable[[Killed], None] = lambda _: None) -> list[Killed]:
    """Kill so many commands, of all kinds in turn, each at a random moment; say what was lost, or is not the same."""
    rng, reference, found = random.Random(seed), Reference(folder), []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        place = folder / f"kill-{number}"
        place.mkdir()
        (place / "small.toml").write_text(SCENARIO, encoding="utf-8")
        found.append(_kill(kind, place, reference, rng))
        told(found[-1])
        shutil.rmtree(place)
    return found


def _kill(kind: Kind, place: Path, reference: Reference, rng: random.Random) -> Killed:
    expected, takes_s = reference.of(kind)
    share, number = rng.uniform(0.2, 1.0), rng.choice(SIGNALS)
    process = _started(kind, place)
    time.sleep(share * takes_s)
    if kind.victims == "worker":
        number = signal.SIGKILL
        for worker in _workers(process.pid)[:1]:
            _signal(worker, number)
    elif process.poll() is None:
        process.send_signal(number)
    code = process.wait(timeout=300)
    faults = _half_written(place / "out", kind)
    again = _started(kind, place)
    if again.wait(timeout=300) != 0:
        faults.append(f"the same command fails afterwards: {_said(place)}")
    faults += _differences(expected, place / "out")
    return Killed(kind.name, signal.Signals(number).name, share, code, tuple(faults))


def _started(kind: Kind, place: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "llmsim", *kind.words, "--out", "out"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (place / "said").open("wb") as said:
        return subprocess.Popen(words, cwd=place, stdout=said, stderr=said, env=environment)


def _workers(pid: int) -> list[int]:
    """Processes that simulate for another, on Linux."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(word) for word in tasks.read_text().split()] if tasks.is_file() else []
    return [child for child in children if b"spawn_main" in _command_line(child)]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _said(place: Path) -> str:
    return (place / "said").read_text(encoding="utf-8", errors="replace").strip()[-200:]


def _half_written(out: Path, kind: Kind) -> list[str]:
    """Say what a killed command must not leave: a folder that looks whole and is not."""
    if kind.name.startswith("sweep") or not out.exists():
        return []
    return (
        [] if (out / "seal.json").is_file() else [f"a folder without a seal: {sorted(f.name for f in out.iterdir())}"]
    )


def _differences(expected: Path, found: Path) -> list[str]:
    """Compare the data of two folders, byte by byte, but for the times that commands took."""
    names = {file.relative_to(expected) for file in expected.rglob("*") if file.suffix in (".parquet", ".json")}
    there = {file.relative_to(found) for file in found.rglob("*") if file.suffix in (".parquet", ".json")}
    faults = [f"{name} is missing" for name in sorted(names - there)] + [
        f"{n} is too many" for n in sorted(there - names)
    ]
    for name in sorted(names & there):
        one, two = ((folder / name).read_bytes() for folder in (expected, found))
        if name.name not in TIMED and name.parent.name != "points" and one != two:
            faults.append(f"{name} has other bytes")
        elif name.parent.name == "points" and _untimed(one) != _untimed(two):
            faults.append(f"{name} has another score")
    return faults


def _untimed(data: bytes) -> object:
    kept = json.loads(data)
    del kept["score"]["wall_s"], kept["sha256"]
    return kept
