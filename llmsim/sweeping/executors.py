"""Where points run: in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from llmsim.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

#: gives an executor for as long as it works; entered again when its workers were lost
Executors = Callable[[], AbstractContextManager[Executor]]
DASK_ANSWERS_WITHIN_S = 10


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of this: in the midst of it, it would be lost, or leave a process half started."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears of it
        yield
        return
    noted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if noted:
        raise KeyboardInterrupt


class InThisProcess(Executor):
    """Runs a task when it is submitted."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run it; Ctrl-C goes to the caller, other errors into the future."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def in_this_process() -> Iterator[Executor]:
    """One point after another, here."""
    yield InThisProcess()


class _Pool(ProcessPoolExecutor):
    """A pool whose processes never see Ctrl-C: it is for the sweep, which ends them."""

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
def process_pool(jobs: int) -> Iterator[Executor]:
    """Fresh processes of this machine, which end with this one, however it ends.

    They are spawned, not forked: a fork of a process with threads may hang, and not every system has it.
    """
    spawn = multiprocessing.get_context("spawn")
    theirs, ours = spawn.Pipe(duplex=False)
    pool = _Pool(jobs, mp_context=spawn, initializer=_end_with, initargs=(theirs,))
    try:
        yield pool
        pool.shutdown(wait=True)
    finally:
        ours.close()
        pool.shutdown(wait=True, cancel_futures=True)
        theirs.close()


def _end_with(parent: Connection) -> None:
    """End this worker at once when the other end of a pipe closes: the sweep was stopped, or killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked

    def wait() -> None:
        parent.poll(None)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def dask(address: str) -> Executors:
    """Return executors of the Dask cluster whose scheduler is at `address`, such as ``tcp://host:8786``.

    Dask itself gives the tasks of a lost worker to others. InputError if dask.distributed is not installed.
    """
    try:
        import distributed
    except ImportError:
        raise InputError("--dask needs dask.distributed: pip install 'llmsim[dask]'") from None

    connect: Any = distributed.Client

    @contextmanager
    def connected() -> Iterator[Executor]:
        try:
            client: Any = connect(address, timeout=DASK_ANSWERS_WITHIN_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(f"--dask {address}: no Dask scheduler answers there ({_first_line(error)})") from None
        executor: Executor = client.get_executor(pure=False)
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)
            client.close()

    return connected


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
