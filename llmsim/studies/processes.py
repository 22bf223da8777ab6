"""Processes that work for this one: they end with it, and Ctrl-C is for it alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


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


@contextmanager
def process_pool(jobs: int, prepare: Callable[..., None] | None = None, *arguments: Any) -> Iterator[Executor]:
    """Fresh processes of this machine, which end with this one, however it ends; each calls `prepare` first.

    They are spawned, not forked: a fork of a process with threads may hang, and not every system has it.
    """
    spawn = multiprocessing.get_context("spawn")
    theirs, ours = spawn.Pipe(duplex=False)
    pool = _Pool(jobs, mp_context=spawn, initializer=_begin, initargs=(theirs, prepare, arguments))
    try:
        yield pool
        pool.shutdown(wait=True)
    finally:
        with uninterrupted():  # Ctrl-C twice would leave processes behind that miss this one
            ours.close()
            pool.shutdown(wait=True, cancel_futures=True)
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
