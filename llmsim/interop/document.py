"""A file as plain values, whatever it is written in: JSON, JSON lines, YAML or CSV, told apart by its text."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llmsim.errors import InputError
from llmsim.reading import check_depth, parse_json, read_text


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, before any thought about what it means."""

    path: Path
    value: Any  #: of JSON lines and CSV: a list with one mapping for each line
    written_in: str  #: "JSON", "JSON lines", "YAML" or "CSV"
    notes: tuple[str, ...] = ()  #: what could not be read

    @property
    def whole(self) -> Mapping[str, Any]:
        """The object that the file is; without keys where it is something else, such as a list."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def first(self) -> Mapping[str, Any]:
        """The first object of a list, without keys where there is none."""
        if isinstance(self.value, list) and self.value and isinstance(self.value[0], Mapping):
            return self.value[0]
        return {}

    @property
    def objects(self) -> list[Any]:
        """The entries of a list, or the one object that the file is."""
        return self.value if isinstance(self.value, list) else [self.value]


def read_document(path: Path) -> Document:
    """Read JSON, JSON lines, YAML or CSV in UTF-8, also within gzip; InputError with its line where it is malformed."""
    text = _text(path)
    start = text.lstrip()[:1]
    if not start:
        raise InputError(f"{path}: the file is empty")
    if start in "[{":
        return _json(path, text)
    if path.suffix in (".yaml", ".yml"):
        return Document(path, _yaml(path, text), "YAML")
    if "," in text.splitlines()[0] and ":" not in text.splitlines()[0]:
        return Document(path, _csv(path, text), "CSV")
    raise InputError(f"{path}: expected JSON, JSON lines, CSV, or YAML in a file that ends in .yaml")


def _text(path: Path) -> str:
    try:
        return read_text(path)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror or e})") from None
    except UnicodeDecodeError as e:
        raise InputError(f"{path}: byte {e.start}: not UTF-8 text") from None


def _json(path: Path, text: str) -> Document:
    try:
        return Document(path, parse_json(text, str(path)), "JSON")
    except json.JSONDecodeError as e:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
        if len(lines) > 1 and all(line.lstrip().startswith("{") for _, line in lines[:2]):
            return _json_lines(path, lines)
        place = f"line {e.lineno} column {e.colno}"
        raise InputError(f"{path}: {place}: not valid JSON ({e.msg}); is the file complete?") from None


def _json_lines(path: Path, lines: list[tuple[int, str]]) -> Document:
    """Read each line by itself: one that is cut off takes no other with it."""
    objects, broken = [], []
    for number, line in lines:
        try:
            objects.append(parse_json(line, f"{path}: line {number}"))
        except ValueError:
            broken.append(number)
    if not objects:
        raise InputError(f"{path}: line {broken[0]}: not valid JSON; is the file complete?")
    notes = (f"{len(broken)} lines are left out, not valid JSON: the first is line {broken[0]}",) if broken else ()
    return Document(path, objects, "JSON lines", notes)


def _yaml(path: Path, text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise InputError(f"{path}: YAML needs PyYAML (pip install pyyaml), or save the result as JSON") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        value = yaml.load(text, Loader=loader)
    except (yaml.YAMLError, RecursionError, ValueError) as e:
        mark = getattr(e, "problem_mark", None)
        place = f"line {mark.line + 1} column {mark.column + 1}: " if mark else ""
        raise InputError(f"{path}: {place}not valid YAML; is the file complete?") from None
    check_depth(value, str(path))
    return value


def _csv(path: Path, text: str) -> list[dict[str, str]]:
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, skipinitialspace=True)
    except (ValueError, pd.errors.ParserError) as e:
        raise InputError(f"{path}: not a CSV table ({str(e).splitlines()[0]})") from None
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False, name=None)]
