"""Run one command in a process of its own, within limits, and say what is wrong with how it ended."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_CPU_S = 10
MOST_WALL_S = 60  # a machine may be busy
MOST_BYTES = 2 << 30  #: resident
ADDRESS_SPACE_BYTES = 6 << 30
#: exit codes that a command may have: well, a condition that failed, bad input
KNOWN_CODES = (0, 1, 2)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int  #: minus the signal that ended it
    out: str
    err: str
    cpu_s: float
    bytes: int  #: the most that were resident

    def faults(self, *, may_pass: bool = True) -> list[str]:
        """Say what must not be: a traceback, an endless run, too much memory, an unclear message."""
        found = []
        if "Traceback" in self.err or "Traceback" in self.out:
            found.append(f"a traceback: {self.err.strip().splitlines()[-1][:200]}")
        elif self.code < 0 or self.cpu_s > MOST_CPU_S:
            found.append(f"ended by signal {-self.code} after {self.cpu_s:.1f} s of CPU")
        elif self.code not in KNOWN_CODES:
            found.append(f"exit code {self.code}")
        elif self.code == 2:
            lines = self.err.splitlines()
            if len(lines) != 1 or not lines[0].startswith("error: "):
                found.append(f"{len(lines)} lines on stderr: {self.err[:200]!r}")
            if self.out:
                found.append(f"bad input, and yet stdout: {self.out[:80]!r}")
        elif not may_pass:
            found.append(f"exit code {self.code}: was not refused")
        if self.bytes > MOST_BYTES:
            found.append(f"{self.bytes >> 20} MiB resident")
        return found


def preload() -> None:
    """Import what commands need, so that a fork begins at once."""
    import matplotlib.pyplot  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet  # noqa: F401
    import scipy.stats  # noqa: F401

    import llmsim.cli
    import llmsim.library  # noqa: F401
    from llmsim.metrics import catalogue
    from llmsim.reports import plots  # noqa: F401

    catalogue.sections()


def command(words: Sequence[str], folder: Path) -> Ended:
    """Call `llmsim` with these words in a folder, in a fork of this process."""
    from llmsim.cli import main

    return limited(lambda: main(list(words)), folder)


def limited(call: Callable[[], int], folder: Path) -> Ended:
    """Make a call in a fork of this process, with stdout and stderr in files; it ends with the call's code."""
    out, err = folder / ".stdout", folder / ".stderr"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.chdir(folder)
            os.setpgid(0, 0)
            _redirect(out, err)
            resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S + 2))
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            code = call()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None and not stream.closed:  # by a policy
                    stream.flush()
            os._exit(code)
    status, used = _wait(child)
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, _text(out), _text(err), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def _redirect(out: Path, err: Path) -> None:
    for file, stream in ((out, 1), (err, 2)):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, stream)
        os.close(handle)
    sys.stdout = open(1, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _wait(child: int) -> tuple[int, resource.struct_rusage]:
    stop_s = time.monotonic() + MOST_WALL_S
    while True:
        pid, status, used = os.wait4(child, os.WNOHANG)
        if pid:
            return status, used
        if time.monotonic() > stop_s:
            os.killpg(child, signal.SIGKILL)
            _, status, used = os.wait4(child, 0)
            return status, used
        time.sleep(0.005)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
