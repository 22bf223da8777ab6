"""A scenario as commented TOML, to be edited: what is given, what it means, and behind # what else could be given."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmsim.scenario.reference import Key

#: tables whose keys are all shown, given or not; of other tables, those that are given
SHOWN_TABLES = ("workload", "cluster", "scheduler", "slo", "user")
WIDTH = 118
#: column at which meanings begin, where the value leaves room
MEANING_COLUMN = 40
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def commented(data: Mapping[str, Any], keys: Sequence[Key], header: str) -> str:
    """Write a scenario's data, as TOML has it, with the meaning of each key; `keys` are all that there are.

    Read again, it is the same data.
    """
    lines = [f"# {line}".rstrip() for line in header.splitlines()] + [""]
    whole: dict[str, Any] = dict(data)
    lines += _table(whole, (), "", keys)
    for table in SHOWN_TABLES:
        if table not in data:  # an empty table would not be none: an SLO without bounds is refused
            lines += _table({}, (table,), f"# [{table}]", keys)
            whole[table] = {}
    more = sorted({key.table.partition(".")[0] for key in keys if key.table} - whole.keys())
    lines += ["", "# More tables: " + ", ".join(more) + ". What may stand in them: llmsim list keys TABLE", ""]
    return "\n".join(lines)


def toml_value(value: Any) -> str:
    """Write a value of TOML on one line."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_quoted(key)} = {toml_value(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _quoted(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key)


def _table(data: Mapping[str, Any], path: tuple[str, ...], header: str, keys: Sequence[Key]) -> Iterator[str]:
    """The lines of a table: its values, then its tables."""
    name = ".".join(path)
    known = {key.name: key for key in keys if key.table == name and _fits(key.variant, data)}
    inner = {key: value for key, value in data.items() if _is_table(value)}
    if header:
        yield from ("", header)
    for key, value in data.items():
        if key not in inner:
            yield from _assignment(f"{_quoted(key)} = {toml_value(value)}", known.get(key))
    if path and path[0] in SHOWN_TABLES:
        tables = {
            key.table.removeprefix(f"{name}.").partition(".")[0] for key in keys if key.table.startswith(f"{name}.")
        }
        for other in known.values():
            if other.name not in data and other.name not in tables and other.default != "required":
                value = "" if other.default == "left out" else other.default
                yield from _assignment(f"# {other.name} = {value}".rstrip(), other)
    for key, value in inner.items():
        below = (*path, key)
        dotted = ".".join(map(_quoted, below))
        if isinstance(value, Mapping):
            yield from _table(value, below, f"[{dotted}]", keys)
        else:
            for each in value:
                yield from _table(each, below, f"[[{dotted}]]", keys)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(each, Mapping) for each in value)
    )


def _fits(variant: str, data: Mapping[str, Any]) -> bool:
    """Whether keys of this kind of table may stand in one that has this data."""
    if variant.startswith("without "):
        return not any(key in data for key in variant.removeprefix("without ").split(" or "))
    if variant.startswith("with "):
        return variant.removeprefix("with ") in data
    chooses, _, names = variant.partition(" = ")
    return (
        not variant
        or json.dumps(data.get(chooses, "")) in names.split(" | ")
        or (chooses == "name" and "name" not in data and names == '"chunked_prefill"')
    )


def _assignment(line: str, key: Key | None) -> Iterator[str]:
    """A value with its meaning beside it, or above it where both are long."""
    if key is None or not key.meaning:
        yield line
        return
    meaning = key.meaning + (f" ({key.unit})" if key.unit else "")
    beside = f"{line:{MEANING_COLUMN}}  # {meaning}"
    if len(beside) <= WIDTH:
        yield beside
        return
    yield from textwrap.wrap(meaning, WIDTH - 2, initial_indent="# ", subsequent_indent="# ")
    yield line
