"""Ctrl-C at the moments at which Python is alone with it: before the command line is loaded, and at its own end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llmsim import ctrl_c
from places import ROOT

#: a module that is the command in place of llmsim.cli, which takes long to load
STANDS_IN = """
import atexit, signal, sys, types
from llmsim.__main__ import main

def command():
    {body}

if {loads}:
    sys.modules["llmsim.cli"] = stands_in = types.ModuleType("llmsim.cli")
    stands_in.main = command
else:
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "llmsim.cli":
                command()
    sys.meta_path.insert(0, Finder())
sys.exit(main())
"""
PRESS = "signal.raise_signal(signal.SIGINT)"
IN_EXEC = "exec('signal.raise_signal(signal.SIGINT)')"
AT_THE_END = "atexit.register(signal.raise_signal, signal.SIGINT); return 0"


@pytest.mark.parametrize(
    ("body", "loads", "code", "said"),
    [
        (PRESS, False, 130, "error: interrupted\n"),
        (PRESS, True, 130, "error: interrupted\n"),
        (IN_EXEC, True, 130, "error: interrupted\n"),
        (AT_THE_END, True, -signal.SIGINT, ""),
    ],
)
def test_ctrl_c_is_never_a_traceback(tmp_path: Path, body: str, loads: bool, code: int, said: str) -> None:
    (tmp_path / "victim.py").write_text(STANDS_IN.format(body=body, loads=loads))
    ended = subprocess.run(
        [sys.executable, "-m", "victim"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may have it ignored
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (code, said)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("print(chr(0x2264)); return 0", b"\\u2264\n"),
        ("print(chr(0xD800), file=sys.stderr); return 0", b""),
    ],
)
def test_what_a_pipe_cannot_take_is_written_as_its_number(tmp_path: Path, body: str, said: bytes) -> None:
    (tmp_path / "victim.py").write_text(STANDS_IN.format(body=body, loads=True))
    ended = subprocess.run(
        [sys.executable, "-m", "victim"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, said)


def test_what_is_heard_already_is_heard_once() -> None:
    with ctrl_c.heard() as outer, ctrl_c.heard() as inner:
        assert inner is outer
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert outer.pressed
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_change_nothing() -> None:
    def look() -> None:
        with ctrl_c.heard():
            found.append(signal.getsignal(signal.SIGINT))

    found: list[object] = []
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
