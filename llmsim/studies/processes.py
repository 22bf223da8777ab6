"""Processes that work for this one: they end with it, and Ctrl-C is for it alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LOOK_S, SETTLES_S = 0.5, 2.0


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of this: in the midst of it, it would be lost, or leave a process half started."""
    before = signal.getsignal(signal.SIGINT)
    # other threads never are told, and a process that ignores it goes on to
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if noted:
        before(signal.SIGINT, None)


class _Pool(ProcessPoolExecutor):
    """A pool whose processes never see Ctrl-C: it is for this one, which ends them."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Submit; a process that this starts inherits that the signal is blocked, from its very first moment."""
        with uninterrupted():
            if not hasattr(signal, "pthread_sigmask"):
                return super().submit(fn, *args, **kwargs)
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                return super().submit(fn, *args, **kwargs)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def watch(self, ended: threading.Event) -> None:
        """Break the pool, until it has ended, where the death of a process is not noticed within `SETTLES_S`.

        One that is killed in the midst of handing a result over leaves half of it in a pipe, and the standard library
        (CPython 3.11 to 3.14) waits for the other half for ever. Without writers it hears that there is none.
        """
        results: Any = self._result_queue
        while not ended.is_set():
            if wait([each.sentinel for each in list((self._processes or {}).values())], LOOK_S):
                break
        manager: Any = self._executor_manager_thread
        if ended.wait(SETTLES_S) or manager is None or not manager.is_alive():
            return
        for each in list((self._processes or {}).values()):
            each.kill()
        # `shutdown` closes what it finds here, in another thread: never the same handle twice
        writer, results._writer = results._writer, results._reader
        writer.close()


@contextmanager
def process_pool(jobs: int, prepare: Callable[..., None] | None = None, *arguments: Any) -> Iterator[Executor]:
    """Fresh processes of this machine, which end with this one, however it ends; each calls `prepare` first.

    They are spawned, not forked: a fork of a process with threads may hang, and not every system has it.
    """
    spawn = multiprocessing.get_context("spawn")
    theirs, ours = spawn.Pipe(duplex=False)
    pool = _Pool(jobs, mp_context=spawn, initializer=_begin, initargs=(theirs, prepare, arguments))
    ended = threading.Event()
    threading.Thread(target=pool.watch, args=(ended,), daemon=True).start()
    try:
        yield pool
        pool.shutdown(wait=True)
    finally:
        with uninterrupted():  # Ctrl-C twice would leave processes behind that miss this one
            ours.close()
            pool.shutdown(wait=True, cancel_futures=True)
            ended.set()
            theirs.close()


def _begin(parent: Connection, prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """End this process at once when the other end of a pipe closes: the one that started it was stopped, or killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked

    def wait() -> None:
        parent.poll(None)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    if prepare is not None:
        prepare(*arguments)
