"""Find a case by its name, and run it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

from llmsim.errors import InputError, nearest
from llmsim.studies.validation import cases
from llmsim.studies.validation.case_report import Report

#: called now and then with the number of parts that are done, and the number of all
Progress = Callable[[int, int], None]


def case_names() -> list[str]:
    """Names of the cases, in order."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(cases.__path__))


def validate(case: str, data_dir: Path | str, progress: Progress | None = None) -> Report:
    """Run a case over the data in `data_dir`.

    A case is a module with ``compare(data_dir: Path, progress: Progress) -> Report``. Raises InputError for an
    unknown case, and naming what is missing where the data are not there.
    """
    if case not in case_names():
        raise InputError(f"no case named '{case}'{nearest(case, case_names())}")
    if not Path(data_dir).is_dir():
        raise InputError(f"--data {data_dir}: no such folder, expected one with groundtruth/, profiles/ and peers/")
    if not any((Path(data_dir) / part).is_dir() for part in ("groundtruth", "profiles", "peers")):
        raise InputError(f"--data {data_dir}: holds none of groundtruth/, profiles/ and peers/, expected all")
    module = importlib.import_module(f"{cases.__name__}.{case.replace('-', '_')}")
    report: Report = module.compare(Path(data_dir), progress or (lambda done, total: None))
    return report
