"""llmsim: a discrete-event simulator of LLM serving whose answers you can defend.

``llmsim.run("quickstart").score`` is the whole of it. Each command of the command line is a call here, all with one
convention (`llmsim.library`). What lies behind these names is imported when it is first used, so that
``import llmsim`` takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "audit",
    "compare",
    "load_scenario",
    "plan",
    "report",
    "run",
    "score",
    "sweep",
    "validate",
]

#: name -> module that it comes from; for type checkers, __init__.pyi says the same
_ELSEWHERE = {name: f"llmsim.library.{name}" for name in __all__} | {"load_scenario": "llmsim.scenario"}


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
