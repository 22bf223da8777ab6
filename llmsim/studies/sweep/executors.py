"""Where points run: in this process, in processes of this machine, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ParamSpec, TypeVar

from llmsim.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

#: gives an executor for as long as it works; entered again when its workers were lost
Executors = Callable[[], AbstractContextManager[Executor]]
DASK_ANSWERS_WITHIN_S = 10


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
