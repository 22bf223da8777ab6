"""What tests of every room share: the command line, called in this process."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable

import pytest

from llmsim.cli import main


def pytest_configure(config: pytest.Config) -> None:
    """Ctrl-C is heard also where a shell started the tests in the background, which makes it be ignored.

    Where Python is told to keep no bytecode, processes that tests start keep it in a folder that goes away with the
    tests: each of them would compile all of llmsim.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        bytecode = tempfile.TemporaryDirectory(prefix="llmsim-tests-bytecode-", ignore_cleanup_errors=True)
        os.environ["PYTHONPYCACHEPREFIX"] = bytecode.name
        config.add_cleanup(bytecode.cleanup)


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that takes long on a busy machine says nothing of it."""
    monkeypatch.setattr("llmsim.cli.output.FIRST_LINE_S", 1e9)


@pytest.fixture
def run_cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `llmsim` with the given words; it must succeed without a word on stderr. Return what it printed."""

    def run(*words: object) -> str:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        assert captured.err == ""
        return captured.out

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `llmsim` with bad input: exit code 2, nothing on stdout, one line on stderr. Return this line."""

    def run(*words: object) -> str:
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert code == 2, captured.out
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        return line

    return run
