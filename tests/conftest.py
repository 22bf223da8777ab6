"""What tests of every room share: the command line, called in this process."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from llmsim.cli import main


def pytest_configure() -> None:
    """Ctrl-C is heard also where a shell started the tests in the background, which makes it be ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
