"""From a TOML file, and ``key=value`` overrides, to a `Scenario`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmsim.errors import InputError, nearest
from llmsim.scenario.messages import Place, input_error
from llmsim.scenario.model import SYNTHETIC_KEYS, Scenario

Keys = tuple[str, ...]

_ROOT = Path(__file__).parents[1]
_HEADER = re.compile(r"^\s*\[\[?\s*([^\]#]+?)\s*\]")
_ASSIGNMENT = re.compile(r"""^\s*([\w.\s"'-]+?)\s*=""")
_INLINE_KEY = re.compile(r"""[{,]\s*([\w"'-]+)\s*=""")


def scenario_names() -> dict[str, Path]:
    """Shipped scenarios: name -> file. They lie in a checkout's scenarios/ or in the installed package."""
    for folder in (_ROOT / "_data" / "scenarios", _ROOT.parent / "scenarios"):
        if folder.is_dir():
            files = sorted(folder.rglob("*.toml"))
            return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}
    return {}


def find_scenario(name: str | Path) -> Path:
    """Return the file that a path or a shipped scenario's name means; InputError if there is none."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = scenario_names()
    if path.is_dir():
        raise InputError(f"{name}: is a folder, expected a scenario file (TOML)")
    if str(name) in shipped:
        return shipped[str(name)]
    raise InputError(f"{name}: no such scenario file{nearest(path.stem, shipped)}")


def load_scenario(path: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read, override and validate one scenario.

    An override is ``key.path=value``, the value in TOML or a bare string. One that names a trace takes the
    place of the file's synthetic workload. A relative trace path is looked for in the current folder,
    then in the scenario's. Raises InputError with file, line and key.
    """
    file = find_scenario(path)
    data, lines = _read(file)
    given = [_parse_override(text) for text in overrides]
    if any(keys == ("workload", "trace") for keys, _ in given):
        _make_room_for_trace(data)
    for keys, value in given:
        _set(data, keys, value)
    data.setdefault("name", file.stem)
    place = Places(str(file), lines, frozenset(keys for keys, _ in given))
    _locate_trace(data, file, place)
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        raise input_error(error, Scenario, place) from None
    scenario._place = place
    return scenario


def _read(file: Path) -> tuple[dict[str, Any], dict[Keys, int]]:
    try:
        text = file.read_text(encoding="utf-8")
        return tomllib.loads(text), line_numbers(text)
    except UnicodeDecodeError:
        raise InputError(f"{file}: not a text file, expected a scenario in TOML") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: not valid TOML: {error}") from None


def line_numbers(text: str) -> dict[Keys, int]:
    """Find the line, from 1, of every key in a valid TOML text (tomllib tells none)."""
    found: dict[Keys, int] = {}
    table: Keys = ()
    in_string = False
    for number, line in enumerate(text.splitlines(), start=1):
        starts_inside = in_string
        in_string ^= (line.count('"""') + line.count("'''")) % 2 == 1
        if starts_inside:
            continue
        if header := _HEADER.match(line):
            table = _split(header[1])
            found.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            key = (*table, *_split(assignment[1]))
            found.setdefault(key, number)
            for inner in _INLINE_KEY.finditer(line, assignment.end()):
                found.setdefault((*key, *_split(inner[1])), number)
    return found


def _split(dotted: str) -> Keys:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _parse_override(text: str) -> tuple[Keys, Any]:
    dotted, equals, value = text.partition("=")
    keys = _split(dotted)
    if not equals or not all(keys):
        raise InputError(f"--set {text}: expected key=value, such as cluster.instances=4")
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return keys, value
    return keys, parsed["value"] if parsed.keys() == {"value"} else value


def _make_room_for_trace(data: dict[str, Any]) -> None:
    """Take away what describes drawn requests, which stand in for a trace that is not there."""
    table = data.get("workload")
    if isinstance(table, dict) and "trace" not in table:
        data["workload"] = {key: value for key, value in table.items() if key not in SYNTHETIC_KEYS}


def _set(data: dict[str, Any], keys: Keys, value: Any) -> None:
    table = data
    for key in keys[:-1]:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InputError(f"--set {'.'.join(keys)}: '{key}' is {inner!r}, which has no keys of its own")
        table = inner
    table[keys[-1]] = value


@dataclass(frozen=True)
class Places:
    """Where the values of a scenario came from."""

    file: str
    lines: Mapping[Keys, int]
    overridden: frozenset[Keys]

    def __call__(self, keys: Keys) -> str:
        """Return the start of a message about the value at `keys`, or about the closest table around it."""
        for length in range(len(keys), 0, -1):
            if keys[:length] in self.overridden:
                return "command line: "
            if keys[:length] in self.lines:
                return f"{self.file}, line {self.lines[keys[:length]]}: "
        return f"{self.file}: "


def _locate_trace(data: dict[str, Any], file: Path, place: Place) -> None:
    workload = data.get("workload")
    trace = workload.get("trace") if isinstance(workload, dict) else None
    if not isinstance(workload, dict) or not isinstance(trace, str):
        return
    path = Path(trace).expanduser()
    for candidate in (path, file.parent / path):
        if candidate.exists():
            workload["trace"] = str(candidate)
            return
    raise InputError(f"{place(('workload', 'trace'))}workload.trace: no such file: {trace}")
