"""Where points run: in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

from llmsim.errors import InputError, LlmsimError
from llmsim.studies.processes import process_pool

P = ParamSpec("P")
R = TypeVar("R")

#: gives an executor for as long as it works; entered again when its workers were lost
Executors = Callable[[], AbstractContextManager[Executor]]
DASK_ANSWERS_WITHIN_S = 10
DASK_LOGGERS = ("distributed", "tornado", "asyncio")


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


def dask(address: str) -> Executors:
    """Return executors of the Dask cluster whose scheduler is at `address`, such as ``tcp://host:8786``.

    Dask itself gives the tasks of a lost worker to others. What it logs of a lost scheduler, tracebacks, is not shown:
    the error says it. InputError if dask.distributed is not installed.
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
        _silence_dask()
        try:
            yield executor
        except distributed.KilledWorker as error:
            raise LlmsimError(f"--dask {address}: {_first_line(error)}") from None
        finally:
            executor.shutdown(wait=False)
            client.close()

    return connected


def _silence_dask() -> None:
    """For good: it goes on to log while this process ends."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in DASK_LOGGERS:
            logging.getLogger(name).disabled = True


def in_processes(jobs: int) -> Executors:
    """Return executors of this many processes of this machine; 1: this process."""
    return in_this_process if jobs == 1 else partial(process_pool, jobs)


def executors_of(jobs: int | None, address: str | None, *, unless_said: int = 1) -> Executors:
    """Executors of a Dask cluster, if there is an address, else of processes here; InputError for both."""
    if address is None:
        return in_processes(jobs or unless_said)
    if jobs is not None:
        raise InputError("--jobs and --dask exclude each other; give one of them")
    return dask(address)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
