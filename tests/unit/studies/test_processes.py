"""Processes that simulate for another: whatever happens to them, the one that waits for them hears of it."""

from __future__ import annotations

import time
from concurrent.futures import BrokenExecutor, wait

import pytest

from llmsim.studies import processes
from llmsim.studies.processes import process_pool

#: hands the first bytes of a result of a thousand over, and is killed
HALF_A_RESULT = """
import os, signal, struct, sys
frame = sys._getframe()
while "result_queue" not in frame.f_locals:
    frame = frame.f_back
os.write(frame.f_locals["result_queue"]._writer.fileno(), struct.pack("!i", 1000) + b"half")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_while_it_hands_a_result_over_breaks_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard library would wait for the rest for ever, and so would a sweep."""
    monkeypatch.setattr(processes, "SETTLES_S", 0.1)
    begun_s = time.monotonic()
    with process_pool(1) as pool:
        future = pool.submit(exec, HALF_A_RESULT, {})
        done, _ = wait([future], timeout=60)
        assert done
        assert isinstance(future.exception(), BrokenExecutor)
    assert time.monotonic() - begun_s < 60
