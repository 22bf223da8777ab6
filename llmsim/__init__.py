"""llmsim: a discrete-event simulator of LLM serving whose answers you can defend.

``llmsim.run("quickstart").score`` is the whole of it. What lies behind these names is imported when it is first used,
so that ``import llmsim`` takes no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmsim.experiment import Result
    from llmsim.metrics.score import score
    from llmsim.scenario import Scenario, load_scenario
    from llmsim.scheduler import Scheduler

__version__ = "0.1.0"
__all__ = ["__version__", "load_scenario", "run", "score"]

#: name -> module that it comes from
_ELSEWHERE = {"load_scenario": "llmsim.scenario", "score": "llmsim.metrics.score"}


def run(
    scenario: str | Path | Scenario, overrides: Sequence[str] = (), *, scheduler: type[Scheduler] | None = None
) -> Result:
    """Run a scenario, given as such or by its name or file, and return what happened with its score.

    `overrides` are those of ``llmsim run --set``: ``["workload.arrivals.rate_per_s=4"]``. `scheduler`, a class, takes
    the place of the one that the scenario names. Raises InputError with one line for what cannot be run.
    """
    from llmsim import experiment
    from llmsim.errors import InputError
    from llmsim.scenario import Scenario, load_scenario

    if not isinstance(scenario, Scenario):
        scenario = load_scenario(scenario, overrides)
    elif overrides:
        raise InputError("run: overrides change a scenario's file; expected them where the scenario was loaded")
    return experiment.run(scenario, scheduler=scheduler)


def __getattr__(name: str) -> Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
