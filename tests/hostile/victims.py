"""Commands in processes of their own, to be killed: what they have spent, what they started, where they write."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from places import ROOT

LIMIT_S = 300.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}


class Running:
    """A command on its way. With processes of its own it is a fresh Python, else a fork of this one, begun at once."""

    def __init__(
        self, words: Sequence[str], place: Path, said_in: Path, *, fresh: bool, most_file_bytes: int | None = None
    ) -> None:
        self.place, self.said_in = place, said_in
        self.code: int | None = None
        self.cpu_s = 0.0  #: once it has ended
        self.cut_off = False  #: it did not end by itself within `LIMIT_S`
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._begin(place, most_file_bytes)
                if fresh:
                    os.execve(sys.executable, [sys.executable, "-m", "llmsim", *words], ENVIRONMENT)
                code = _main(words)
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            except BaseException:
                import traceback

                traceback.print_exc()
                code = 70
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _begin(self, place: Path, most_file_bytes: int | None) -> None:
        os.setsid()
        os.chdir(place)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
        said = os.open(self.said_in, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(said, stream)
        sys.stdout = open(1, "w", 1, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", 1, encoding="utf-8", closefd=False)  # noqa: SIM115
        if most_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_file_bytes, most_file_bytes))

    @property
    def said(self) -> str:
        """Everything that it printed."""
        return self.said_in.read_text(encoding="utf-8", errors="replace").strip()

    def ended(self) -> bool:
        """Look whether it has."""
        if self.code is None:
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.code, self.cpu_s = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        return self.code is not None

    def wait(self) -> int:
        """Wait for its end; return its exit code, minus the signal that ended it."""
        stop_s = time.monotonic() + LIMIT_S
        while not self.ended():
            if time.monotonic() > stop_s:
                self.cut_off = True
                self.send(signal.SIGKILL, everyone=True)
            time.sleep(0.005)
        assert self.code is not None
        return self.code

    def wait_for(self, cpu_s: float) -> None:
        """Wait until it and its processes have spent so much, however busy the machine is, or have ended."""
        while not self.ended() and _spent_s(self.pid) < cpu_s:
            time.sleep(0.004)

    def send(self, number: signal.Signals, *, everyone: bool = False) -> None:
        """Send a signal; to everything that it started as well, as a terminal does."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if everyone else os.kill)(self.pid, number)

    def left_behind(self) -> list[int]:
        """Processes of its session that go on after its end, and after some seconds of grace."""
        stop_s = time.monotonic() + 20
        while (left := _session(self.pid)) and time.monotonic() < stop_s:
            time.sleep(0.05)
        return left


def _main(words: Sequence[str]) -> int:
    from matplotlib.figure import Figure

    from llmsim.cli import main

    Figure.savefig = lambda _, file, **__: Path(file).write_bytes(b"picture")  # type: ignore[method-assign]
    return main(list(words))


def workers(pid: int) -> list[int]:
    """Processes that simulate for another."""
    return [child for child in _children(pid) if b"spawn_main" in _read(f"/proc/{child}/cmdline")]


def kill(pid: int) -> None:
    """Kill a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    return [int(word) for word in _read(f"/proc/{pid}/task/{pid}/children").split()]


def _spent_s(pid: int) -> float:
    """CPU time of a process and of all that it has started."""
    times = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[11:15]
    return sum(map(int, times)) / TICKS_PER_S + sum(map(_spent_s, _children(pid)))


def _session(leader: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            fields = _read(str(folder / "stat")).rpartition(b")")[2].split()
            if len(fields) > 3 and int(fields[3]) == leader and fields[0] != b"Z":
                found.append(int(folder.name))
    return found


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError:  # it has ended
        return b""


class DaskCluster:
    """A Dask scheduler with two workers, in processes of their own."""

    def __init__(self) -> None:
        words = [sys.executable, str(Path(__file__).with_name("dask_cluster.py"))]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT
        )
        assert self._process.stdout is not None
        said = json.loads(self._process.stdout.readline())
        self.address, self.scheduler_pid = said["address"], self._process.pid

    def worker_pids(self) -> list[int]:
        """The workers, but for the processes that look after them."""
        return workers(self.scheduler_pid)

    @property
    def alive(self) -> bool:
        """Whether the scheduler is."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it, and its workers."""
        for pid in (*self.worker_pids(), self.scheduler_pid):
            kill(pid)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[bool]:
    """Put a file system of so many bytes in the place of a folder; False where none can be mounted."""
    mounted = _mount(place, f"size={size}")
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", place], check=True)


def grow(place: Path) -> None:
    """Make room on a small disk."""
    _mount(place, "remount,size=256m")


def _mount(place: Path, options: str) -> bool:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
    return done.returncode == 0
