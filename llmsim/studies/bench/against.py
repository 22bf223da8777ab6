"""Two versions of llmsim on the same workloads, in turn, to see whether this one is slower.

Both run on this machine, one after the other, again and again, and each counts the least CPU time of its runs: so
neither the machine's pace nor what else it does decides. A version runs in fresh processes, a few runs in each: where
the memory of a process lies makes a few percent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import llmsim
from llmsim.errors import InputError, LlmsimError
from llmsim.studies.bench import against_worker
from llmsim.studies.bench.suites import Watch

RUNS_IN_A_PROCESS = 3


@dataclass(frozen=True)
class Version:
    """An interpreter, and the folder that it takes llmsim from; empty: as installed there."""

    python: str
    folder: str = ""

    @classmethod
    def this(cls) -> Version:
        """The version that runs this."""
        return cls(sys.executable, str(Path(llmsim.__file__).parents[1]))

    @classmethod
    def at(cls, path: Path) -> Version:
        """The one of a virtual environment, of a Python, or of a folder that holds the package.

        Raises InputError where a path is none of these.
        """
        if (path / "llmsim" / "__init__.py").is_file():
            return cls(sys.executable, str(path.absolute()))
        for python in (path, path / "bin" / "python", path / "Scripts" / "python.exe"):
            if python.is_file() and os.access(python, os.X_OK):
                return cls(str(python.absolute()))  # not resolved: a link is what makes it a virtual environment's
        raise InputError(f"--against {path}: expected a virtual environment, a Python, or a folder that holds llmsim")


class Work(NamedTuple):
    """What a run did."""

    requests: int
    steps: int
    tokens: int


NO_WORK = Work(0, 0, 0)


class OneRun(NamedTuple):
    """A line of against_worker.py: what one run of a workload cost and did."""

    cpu_s: float
    work: Work


@dataclass(slots=True)
class Runs:
    """What one version made of a workload."""

    cpu_s: list[float] = field(default_factory=list)
    work: Work = NO_WORK  #: of each run
    error: str = ""  #: why there is none

    def add(self, run: OneRun | str) -> None:
        """Note a run, or why there is none."""
        if isinstance(run, str):
            self.error = run
        else:
            self.error, self.work = "", run.work
            self.cpu_s.append(run.cpu_s)


@dataclass(frozen=True, slots=True)
class Versus:
    """One workload in this version and in another."""

    this: Runs
    other: Runs

    @property
    def error(self) -> str:
        """Why they can't be compared; empty: they can."""
        return self.this.error or (self.other.error and f"the other version: {self.other.error}")

    @property
    def ratio(self) -> float:
        """CPU time of this version over the other's: above 1, this one is slower."""
        return min(self.this.cpu_s) / min(self.other.cpu_s)

    @property
    def same_work(self) -> bool:
        """Whether both had as many requests, steps and tokens."""
        return self.this.work == self.other.work


def against(
    other: Version, names: Sequence[str], *, requests: int | None, trace: Path | None, processes: int, watch: Watch
) -> dict[str, Versus]:
    """Run workloads in both versions in turn, in so many processes of each.

    Raises LlmsimError where a version does not start, or dies.
    """
    versions = Version.this(), other
    found = {name: Versus(Runs(), Runs()) for name in names}
    with watch("both versions") as progress:
        done, total = 0, processes * RUNS_IN_A_PROCESS * len(names)
        for _ in range(processes):
            with worker(versions[0], requests, trace) as ours, worker(versions[1], requests, trace) as theirs:
                for name in [name for name in names for _ in range(RUNS_IN_A_PROCESS)]:
                    versus = found[name]
                    if not versus.error:
                        versus.this.add(ask(ours, name))
                        versus.other.add(ask(theirs, name))
                    done += 1
                    progress(done, total)
    return found


@contextmanager
def worker(version: Version, requests: int | None, trace: Path | None) -> Iterator[subprocess.Popen[str]]:
    """Start a process of a version that runs workloads as it is asked (against_worker.py)."""
    source = Path(against_worker.__file__).read_text()
    arguments = [version.folder, "" if requests is None else str(requests), "" if trace is None else str(trace)]
    # isolated: neither this folder nor PYTHONPATH decides which version it is
    command = [version.python, "-I", "-c", source, *arguments]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def ask(worker: subprocess.Popen[str], name: str) -> OneRun | str:
    """Let a process run a workload; return what it cost and did, or why there is none. LlmsimError if it dies."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    assert worker.stderr is not None
    try:
        worker.stdin.write(name + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except BrokenPipeError:
        line = ""
    if not line:
        said = worker.stderr.read().strip().splitlines() or ["nothing"]
        raise LlmsimError(f"--against: a version has died in '{name}'; it says: {said[-1]}")
    answer = json.loads(line)
    if "error" in answer:
        return str(answer["error"])
    return OneRun(answer["cpu_s"], Work(answer["requests"], answer["steps"], answer["tokens"]))
