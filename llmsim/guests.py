"""Code from outside that runs within ours, such as a policy: whatever it raises becomes one line and exit code 2.

It may raise anything, `SystemExit` and `KeyboardInterrupt` too: a command must not end as if all were well, nor a sweep
lose its other points. What is beyond reach in the same process: ``os._exit``, and signals that end it.
"""

from __future__ import annotations

import dis
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from llmsim.errors import LlmsimError, PolicyError

E = TypeVar("E", bound=LlmsimError)

FILE_PREFIX = "llmsim_policy_"  #: of the names of modules that a file makes
MOST_LETTERS = 300  #: of an error's own text
_PACKAGE = str(Path(__file__).parent)
_RAISE = dis.opmap["RAISE_VARARGS"]
#: names of the modules that came from outside
_modules: set[str] = set()


def note(module: str) -> None:
    """Remember that a module is a guest: `contained` tells its errors."""
    _modules.add(module)


def blamed(error: BaseException, whose: str, kind: type[E], file: Path | None = None) -> E:
    """Return an error of ours for one that a guest raised: `whose` says which guest, and when; `file` is named there.

    Raises the given error itself where the guest is not to blame: it is one of ours, memory ran out, or a person
    pressed Ctrl-C.
    """
    if isinstance(error, LlmsimError | MemoryError) or is_ctrl_c(error):
        raise error
    return kind(f"{whose}: {in_a_line(error, file)}")


@contextmanager
def contained() -> Iterator[None]:
    """Turn what guests raise, wherever they are called, into `PolicyError`; other errors pass.

    So do errors of ours that only a bug can raise, where guests are in the process: they may have written on our state.
    The folder that the process works in, and how deep it may recurse, are afterwards what they were.
    """
    folder, most_frames = os.getcwd(), sys.getrecursionlimit()
    try:
        yield
    except BaseException as error:
        guest = next((trace for trace in reversed(_traces(error)) if _module_of(trace) in _modules), None)
        if guest is not None:
            raise blamed(error, guest.tb_frame.f_code.co_qualname, PolicyError) from error
        if not _modules or not isinstance(error, Exception) or isinstance(error, LlmsimError | MemoryError | OSError):
            raise
        raise PolicyError(_broken(error)) from error
    finally:
        if sys.getrecursionlimit() != most_frames:
            sys.setrecursionlimit(most_frames)
        if _modules and os.getcwd() != folder:
            os.chdir(folder)


def _broken(error: Exception) -> str:
    """Tell an error in our own code that a guest may have caused."""
    last = _traces(error)[-1]
    place = f"{Path(_file_of(last)).name}, line {last.tb_lineno}"
    named = ", ".join(sorted(name.removeprefix(FILE_PREFIX) for name in _modules))
    return (
        f"the engine's state does not hold together any more ({type(error).__name__}: {_text(error)}; {place}): code "
        f"from outside ({named}) may write on what it was only shown; if it does not, please tell the maintainers"
    )


def is_ctrl_c(error: BaseException) -> bool:
    """Whether a person interrupted the program, in contrast to code that raises KeyboardInterrupt itself."""
    traces = _traces(error)
    if not isinstance(error, KeyboardInterrupt):
        return False
    return not traces or traces[-1].tb_frame.f_code.co_code[traces[-1].tb_lasti] != _RAISE


def in_a_line(error: BaseException, file: str | Path | None = None) -> str:
    """Tell an error of outside code: its kind, its text, and the line of outside code that it came from.

    The line's file is named unless it is `file`.
    """
    text = f"{type(error).__name__}: {_text(error)}".rstrip(": ")
    outside = [trace for trace in _traces(error) if not _file_of(trace).startswith(_PACKAGE)]
    last = (outside or _traces(error))[-1:]
    if not last or isinstance(error, SyntaxError):
        return text
    own = file is not None and Path(_file_of(last[0])).resolve() == Path(file).resolve()
    place = f"line {last[0].tb_lineno}"
    return f"{text} ({place if own else f'{Path(_file_of(last[0])).name}, {place}'})"


def _text(error: BaseException) -> str:
    try:
        words = " ".join(str(error).split())
    except Exception:  # an exception whose text fails has none
        return ""
    return words if len(words) <= MOST_LETTERS else words[:MOST_LETTERS] + "…"


def _traces(error: BaseException) -> list[TracebackType]:
    found, trace = [], error.__traceback__
    while trace is not None:
        found.append(trace)
        trace = trace.tb_next
    return found


def _module_of(trace: TracebackType) -> str:
    return str(trace.tb_frame.f_globals.get("__name__", ""))


def _file_of(trace: TracebackType) -> str:
    return trace.tb_frame.f_code.co_filename
