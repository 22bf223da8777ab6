"""What a shell may complete: names of scenarios, GPUs, models and schedulers, and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

Completer = Callable[[str], list[str]]


def scenarios(incomplete: str) -> list[str]:
    """Shipped scenarios, and TOML files from here on."""
    from llmsim.scenario import scenario_names

    folder = Path(incomplete).parent if incomplete else Path()
    files = (str(file) for pattern in ("*.toml", "*/") for file in folder.glob(pattern))
    return _starting(incomplete, [*scenario_names(), *files])


def gpus(incomplete: str) -> list[str]:
    """GPUs with a profile."""
    from llmsim.latency.hardware import list_gpus

    return _starting(incomplete, list_gpus())


def models(incomplete: str) -> list[str]:
    """Models with a profile."""
    from llmsim.latency.hardware import list_models

    return _starting(incomplete, list_models())


def schedulers(incomplete: str) -> list[str]:
    """Schedulers that are found by name."""
    from llmsim import discovery

    return _starting(incomplete, discovery.names("llmsim.schedulers"))


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
