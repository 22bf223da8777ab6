"""From a TOML file, and ``key=value`` overrides, to a `Scenario`."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmsim.errors import InputError, nearest
from llmsim.reading import MOST_DEPTH, MOST_SETTINGS_BYTES, check_regular, parse_json, parse_toml, read_text
from llmsim.scenario.messages import Place, input_error
from llmsim.scenario.scenario import Scenario
from llmsim.scenario.workload import SYNTHETIC_KEYS, WORKLOAD_FILES

Keys = tuple[str, ...]
#: place of a value that was given there
COMMAND_LINE = "command line: "

_ROOT = Path(__file__).parents[1]
#: of a line without the blanks around it; possessive, so that none takes more than a walk along the line
_HEADER = re.compile(r"\[(\[?)([^\]#]++)\]")
_ASSIGNMENT = re.compile(r"""([\w.\s"'-]++)=""")
_INLINE_KEY = re.compile(r"""[{,]\s*+([\w"'-]++)\s*+=""")


NOTHING = "null"  #: as a change: without this key


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
    check_regular(path)
    if path.is_file():
        return path
    shipped = scenario_names()
    if path.is_dir():
        raise InputError(f"{name}: is a folder, expected a scenario file (TOML)")
    if str(name) in shipped:
        return shipped[str(name)]
    raise InputError(f"{name}: no such scenario file{nearest(path.stem, shipped)}")


@dataclass(frozen=True, slots=True)
class Change:
    """A value that takes the place of the file's, and where it was given, as the start of a message."""

    keys: Keys
    value: Any
    place: str = COMMAND_LINE


@dataclass(frozen=True)
class Source:
    """A scenario's file, read once: each set of changes makes another scenario of it."""

    file: Path
    data: Mapping[str, Any]
    lines: Mapping[Keys, int]

    def scenario(self, changes: Sequence[Change] = ()) -> Scenario:
        """Make the changes and validate; InputError with file, line and key, or with the place of the change."""
        data, changed = self._changed(changes)
        data.setdefault("name", self.file.stem)
        place = Places(str(self.file), self.lines, changed)
        for key in WORKLOAD_FILES:
            _locate(data, key, self.file, place)
        try:
            scenario = Scenario.model_validate(data)
        except ValidationError as error:
            raise input_error(error, Scenario, place) from None
        scenario._place = place
        return scenario

    def with_beside(self, changes: Sequence[Change] = ()) -> dict[str, Any]:
        """Make the changes, and check them as `scenario` does; the file's data, with the tables of other commands.

        Files that it names are found from anywhere: they are absolute, or relative to the current folder.
        """
        checked = self.scenario(changes)
        data, _ = self._changed(changes)
        for key in WORKLOAD_FILES:
            if key in data.get("workload", {}):
                data["workload"][key] = getattr(checked.workload, key)
        beside = {key: copy.deepcopy(self.data[key]) for key in Scenario.beside if key in self.data}
        return data | beside

    def _changed(self, changes: Sequence[Change]) -> tuple[dict[str, Any], dict[Keys, str]]:
        """The data with the changes made, and where each of them was given."""
        data = {key: value for key, value in copy.deepcopy(dict(self.data)).items() if key not in Scenario.beside}
        if any(change.keys == ("workload", key) for change in changes for key in WORKLOAD_FILES):
            _make_room_for_trace(data)
        for change in changes:
            _check_beside(change)
        changed: dict[Keys, str] = {}
        for change in changes:
            _open_short_forms(data)
            changed[_set(data, change)] = change.place
        return data, changed

    def place(self, *keys: str) -> str:
        """Say where a value of the file stands, as the start of a message."""
        return Places(str(self.file), self.lines, {})(keys)


def load_scenario(path: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read, override and validate one scenario.

    An override is ``key.path=value``, the value in TOML or a bare string; ``null`` takes the key out. One that names a
    trace takes the place of the file's synthetic workload. A relative trace path is looked for in the current folder,
    then in the scenario's. Raises InputError with file, line and key.
    """
    return read_source(path).scenario([parse_change(text) for text in overrides])


def read_source(path: str | Path) -> Source:
    """Read a scenario's file, TOML or the JSON that a result keeps, without validating what it says."""
    file = find_scenario(path)
    try:
        text = read_text(file, MOST_SETTINGS_BYTES)
        if file.suffix == ".json":
            return Source(file, _json_table(text, str(file)), {})
        return Source(file, parse_toml(text, str(file)), line_numbers(text))
    except UnicodeDecodeError:
        raise InputError(f"{file}: not a text file, expected a scenario in TOML") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: not valid TOML: {error}") from None
    except ValueError as error:
        raise InputError(f"{file}: not the JSON of a scenario: {error}") from None


def _json_table(text: str, where: str) -> dict[str, Any]:
    data = parse_json(text, where)
    if not isinstance(data, dict):
        raise ValueError("expected an object")
    return data


def line_numbers(text: str) -> dict[Keys, int]:
    """Find the line, from 1, of every key in a valid TOML text (tomllib tells none).

    A key of the n-th ``[[table]]`` is found under ("table", "n", key), n from 0; that of the first also without n.
    """
    found: dict[Keys, int] = {}
    arrays: dict[Keys, int] = {}  # [[table]] -> number of the one that lines belong to
    table: Keys = ()
    in_string = False
    for number, line in enumerate(text.splitlines(), start=1):
        starts_inside = in_string
        in_string ^= (line.count('"""') + line.count("'''")) % 2 == 1
        if starts_inside:
            continue
        line = line.strip()  # noqa: PLW2901
        keys: list[Keys] = []
        if header := _HEADER.match(line):
            table = split_key(header[2])
            if header[1]:
                arrays[table] = arrays.get(table, -1) + 1
            keys.append(table)
        elif assignment := _ASSIGNMENT.match(line):
            key = (*table, *split_key(assignment[1]))
            inner = _INLINE_KEY.finditer(line, assignment.end())
            keys += [key, *((*key, *split_key(one[1])) for one in inner)]
        for key in keys:
            found.setdefault(key, number)
            found.setdefault(_numbered(key, arrays), number)
    return found


def _numbered(keys: Keys, arrays: Mapping[Keys, int]) -> Keys:
    """Put the number of each [[table]] after its name."""
    path: list[str] = []
    for i, key in enumerate(keys, start=1):
        path += [key, str(arrays[keys[:i]])] if keys[:i] in arrays else [key]
    return tuple(path)


def split_key(dotted: str) -> Keys:
    """Turn ``a.b.c`` into its keys; InputError for more parts than tables may stand within one another."""
    parts = dotted.split(".")
    if len(parts) > MOST_DEPTH:
        raise InputError(f"{parts[0][:20]}.…: a key of {len(parts):,} parts, expected at most {MOST_DEPTH}")
    return tuple(part.strip().strip("\"'") for part in parts)


def parse_change(text: str) -> Change:
    """Read one ``key.path=value`` of the command line, the value in TOML or a bare string."""
    dotted, equals, value = text.partition("=")
    keys = split_key(dotted)
    if not equals or not all(keys):
        raise InputError(f"--set {text}: expected key=value, such as cluster.instances=4")
    return Change(keys, parse_value(value, f"--set {dotted}"))


def parse_value(text: str, where: str = "command line") -> Any:
    """Read a value in TOML; what is none is a bare string. InputError, opened with `where`, where it is too deep."""
    try:
        parsed = parse_toml(f"value = {text}", where)
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text


def _make_room_for_trace(data: dict[str, Any]) -> None:
    """Take away what describes drawn requests, which stand in for a trace that is not there."""
    table = data.get("workload")
    if isinstance(table, dict) and not table.keys() & set(WORKLOAD_FILES):
        data["workload"] = {key: value for key, value in table.items() if key not in SYNTHETIC_KEYS}


def _open_short_forms(data: dict[str, Any]) -> None:
    """Make a table of a name that stands alone, so that a change may set an option beside it."""
    pools = data.get("pool", [])
    for table in (data.get("cluster"), *(pools if isinstance(pools, list) else [])):
        if isinstance(table, dict) and isinstance(table.get("latency"), str):
            table["latency"] = {"name": table["latency"]}


def _check_beside(change: Change) -> None:
    """Refuse a change of a table that is no part of the scenario: another command reads it, or its own options do."""
    table = change.keys[0]
    if table in Scenario.beside:
        how = f"only llmsim {table} reads it"
        if table == "sweep":
            how = "llmsim sweep --axis KEY=VALUES and --seeds N change it"
        raise InputError(f"{change.place}{'.'.join(change.keys)}: [{table}] is no part of the experiment; {how}")


def _set(data: dict[str, Any], change: Change) -> Keys:
    """Make a change; return its keys, with the number of a [[table]] where they have its name."""
    table: Any = data
    path: list[Any] = []
    said = f"{'--set ' if change.place == COMMAND_LINE else change.place}{'.'.join(change.keys)}: "
    for depth, key in enumerate(change.keys, start=1):
        if isinstance(table, list):
            path.append(_number(table, key, said))
        elif isinstance(table, dict):
            path.append(key)
        else:
            raise InputError(f"{said}'{path[-1]}' is {table!r}, which has no keys of its own")
        if depth < len(change.keys):
            table = table[path[-1]] if isinstance(table, list) else table.setdefault(key, {})
    if change.value == NOTHING and isinstance(table, dict):
        table.pop(key, None)
    else:
        table[path[-1]] = copy.deepcopy(change.value)
    return tuple(map(str, path))


def _number(tables: Sequence[Any], key: str, said: str) -> int:
    """Which of the [[tables]] has this name, or this number."""
    names = [str(table.get("name")) if isinstance(table, dict) else "" for table in tables]
    if key in names:
        return names.index(key)
    if key.isdecimal() and int(key) < len(tables):
        return int(key)
    raise InputError(f"{said}none is named '{key}'{nearest(key, names)}")


@dataclass(frozen=True)
class Places:
    """Where the values of a scenario came from."""

    file: str
    lines: Mapping[Keys, int]
    overridden: Mapping[Keys, str]

    def __call__(self, keys: Keys) -> str:
        """Return the start of a message about the value at `keys`, or about the closest table around it.

        An override of a table takes the place of all that the file has in it.
        """
        around = [keys[:length] for length in range(len(keys), 0, -1)]
        for known in around:
            if known in self.overridden:
                return self.overridden[known]
        for known in around:
            if known in self.lines:
                return f"{self.file}, line {self.lines[known]}: "
        for longer, place in self.overridden.items():
            if keys and longer[: len(keys)] == keys:  # a table that only this value called into being
                return place
        return f"{self.file}: "


def _locate(data: dict[str, Any], key: str, file: Path, place: Place) -> None:
    workload = data.get("workload")
    named = workload.get(key) if isinstance(workload, dict) else None
    if not isinstance(workload, dict) or not isinstance(named, str):
        return
    path = Path(named).expanduser()
    for candidate in (path, file.parent / path):
        if candidate.exists():
            check_regular(candidate)
            workload[key] = str(candidate)
            return
    raise InputError(f"{place(('workload', key))}workload.{key}: no such file: {named}")
