"""Find a policy, or another part, by its name: a file <package>/<name>.py, or an installed entry point. Or load a file.

There is no registry to edit. Code runs only when a command asks for that policy: files of data carry names.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TypeVar, cast

from llmsim import guests
from llmsim.errors import InputError, nearest

P = TypeVar("P")


def names(package: str) -> list[str]:
    """List the policies of a package such as ``"llmsim.schedulers"``, without importing any of them."""
    return sorted({*shipped(package), *_entry_points(package)})


def shipped(package: str) -> list[str]:
    """List the policies that llmsim ships in a package: a file each; one whose name begins with _ is none."""
    folders = importlib.import_module(package).__path__
    return sorted(module.name for module in pkgutil.iter_modules(folders) if not module.name.startswith("_"))


def find(package: str, name: str, base: Callable[..., P]) -> type[P]:
    """Return the policy of that name, a subclass of `base`; InputError if there is none or its code fails.

    A file in the package wins over an entry point (group = the package's name) of the same name. Classes whose names
    begin with an underscore do not count.
    """
    kind = cast(type[P], base)
    if _is_module(package, name):
        return _only_policy(importlib.import_module(f"{package}.{name}"), kind, f"{package}.{name}")
    plugin = _entry_points(package).get(name)
    if plugin is None:
        raise InputError(f"unknown {in_words(kind)} '{name}'{nearest(name, names(package))}")
    guests.note(plugin.module)
    try:
        policy = plugin.load()
    except BaseException as error:
        raise guests.blamed(error, f"entry point {name} = {plugin.value}", InputError) from error
    if not (isinstance(policy, type) and issubclass(policy, kind)):
        raise InputError(f"entry point {name} = {plugin.value}: expected a subclass of {kind.__name__}")
    return policy


def load_file(path: str | Path, base: Callable[..., P]) -> type[P]:
    """Run a Python file and return the one policy that it defines; InputError with one line if that fails."""
    file, kind = Path(path), cast(type[P], base)
    if not file.is_file():
        raise InputError(f"{path}: no such file, expected a Python file with a {kind.__name__}")
    spec = importlib.util.spec_from_file_location(f"{guests.FILE_PREFIX}{file.stem}", file)
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: expected a Python file, with a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    guests.note(module.__name__)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise guests.blamed(error, str(path), InputError, file) from error
    return _only_policy(module, kind, str(path))


def in_words(kind: type) -> str:
    """Turn a class's name into words: ``LatencySource`` is a "latency source"."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", kind.__name__).lower()


def _is_module(package: str, name: str) -> bool:
    """Whether a package has a file of that name, without reading the whole folder."""
    plain = name.isidentifier() and not name.startswith("_")
    return plain and importlib.util.find_spec(f"{package}.{name}") is not None


def _entry_points(group: str) -> dict[str, EntryPoint]:
    return _installed(entry_points, group, tuple(sys.path))


@lru_cache(maxsize=64)
def _installed(scan: Callable[..., Iterable[EntryPoint]], group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Entry points by name. A scan reads a file of every installed package, so it is done once for each path."""
    return {point.name: point for point in scan(group=group)}


def _only_policy(module: ModuleType, base: type[P], place: str) -> type[P]:
    """Return the one concrete subclass of `base` that the module itself defines."""
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
        and not value.__name__.startswith("_")
    ]
    if len(found) == 1:
        return found[0]
    there = ", ".join(policy.__name__ for policy in found) or "none"
    raise InputError(f"{place}: expected one concrete subclass of {base.__name__}, found {there}")
