"""Axes of a sweep: one field of a scenario with its values, or several that move together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from llmsim.errors import InputError
from llmsim.quantities import Count
from llmsim.scenario.load import Keys, parse_value, split_key
from llmsim.scenario.messages import Place, input_error
from llmsim.scenario.table import Table

#: values that one axis may have
MOST_VALUES = 100_000
EXPECTED_VALUES = "expected a list of values, or a range such as { start = 1, stop = 8, step = 1 }"


class Range(Table):
    """Numbers from `start` to `stop`, which is one of them if a step meets it."""

    start: int | float
    stop: int | float
    step: int | float | None = None
    num: Count | None = None
    spacing: Literal["linear", "geometric"] = "linear"

    def values(self) -> tuple[int | float, ...]:
        """The numbers; whole where start, stop and all between are. ValueError for a range that makes no sense."""
        if (self.step is None) == (self.num is None):
            raise ValueError("expected either step or num")
        if self.step is not None:
            return self._stepped(self.step)
        assert self.num is not None
        if self.num > MOST_VALUES:
            raise ValueError(f"num = {self.num}: expected at most {MOST_VALUES:,} values")
        if self.num == 1 and self.start != self.stop:
            raise ValueError("num = 1 cannot hold both start and stop; expected 2 or more")
        share = [i / max(self.num - 1, 1) for i in range(self.num)]
        if self.spacing == "linear":
            return self._whole([self.start + s * (self.stop - self.start) for s in share])
        if min(self.start, self.stop) <= 0:
            raise ValueError("a geometric range goes between numbers above 0")
        return self._whole([self.start * (self.stop / self.start) ** s for s in share])

    def _stepped(self, step: int | float) -> tuple[int | float, ...]:
        if self.spacing != "linear":
            raise ValueError("a geometric range takes num, not step")
        if step == 0 or (self.stop - self.start) / step < 0:
            raise ValueError(f"step = {step} never leads from start to stop")
        steps = math.floor((self.stop - self.start) / step + 1e-9)
        if steps >= MOST_VALUES:
            raise ValueError(f"{steps + 1:,} values; expected at most {MOST_VALUES:,}")
        return self._whole([self.start + i * step for i in range(steps + 1)])

    def _whole(self, values: list[int | float]) -> tuple[int | float, ...]:
        """Take away what rounding added: 0.1 + 2 x 0.1 is 0.3, and 256 to 4096 in five are powers of two."""
        rounded = [float(f"{value:.12g}") for value in values]
        wanted = all(isinstance(end, int) for end in (self.start, self.stop, 0 if self.step is None else self.step))
        return tuple(map(int, rounded)) if wanted and all(x.is_integer() for x in rounded) else tuple(rounded)


@dataclass(frozen=True)
class Axis:
    """Fields that move together: `values[i]` has one value for each of `fields`."""

    fields: tuple[Keys, ...]
    values: tuple[tuple[Any, ...], ...]
    places: tuple[str, ...]  #: where each field was given, as the start of a message

    @property
    def names(self) -> tuple[str, ...]:
        """The fields as a user writes them."""
        return tuple(".".join(keys) for keys in self.fields)


def read_axes(table: Mapping[str, Any], place: Place, prefix: Keys) -> Iterator[Axis]:
    """Read the axes of a ``[sweep]`` table; one key is one axis, quoted and dotted, or in tables of tables."""
    for key, given in table.items():
        keys = split_key(key)
        if isinstance(given, dict) and not Range.model_fields.keys() & given.keys() and given:
            inner = {f"{key}.{rest}": value for rest, value in given.items()}
            yield from read_axes(inner, place, prefix)
        else:
            values = read_values(given, place, (*prefix, *keys))
            yield Axis((keys,), tuple((value,) for value in values), (place((*prefix, *keys)),))


def read_zip(table: Any, place: Place, prefix: Keys) -> Axis:
    """Read one ``[[sweep.zip]]``: fields whose values go together, so that each needs as many."""
    where = f"{place(prefix)}{'.'.join(prefix)}: "
    if not isinstance(table, dict):
        raise InputError(f"{where}expected a table of fields that move together")
    columns = list(read_axes(table, place, prefix))
    lengths = {axis.names[0]: len(axis.values) for axis in columns}
    if len(columns) < 2:
        raise InputError(f"{where}expected two fields or more; one alone is a plain axis")
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise InputError(f"{where}fields that move together need equally many values, but {said}")
    values = tuple(tuple(v for (v,) in row) for row in zip(*(axis.values for axis in columns), strict=True))
    return Axis(tuple(axis.fields[0] for axis in columns), values, tuple(axis.places[0] for axis in columns))


def read_values(given: Any, place: Place, keys: Keys) -> tuple[Any, ...]:
    """Read the values of a field: a list, or a range; InputError if there are none, or one comes twice."""
    where = f"{place(keys)}{'.'.join(keys)}: "
    values: Sequence[Any]
    if isinstance(given, list):
        values = given
    elif isinstance(given, dict):
        try:
            values = Range.model_validate(given).values()
        except ValidationError as error:
            raise input_error(error, Range, place, keys) from None
        except ValueError as error:
            raise InputError(f"{where}{error}") from None
    else:
        hint = "; the seeds are given by the key seeds" if keys[-1] == "seed" else ""
        raise InputError(f"{where}{given!r}: {EXPECTED_VALUES}{hint}")
    if not values:
        raise InputError(f"{where}no values; {EXPECTED_VALUES}")
    twice = [value for i, value in enumerate(values) if value in values[:i]] if len(values) < 1000 else []
    if twice:
        raise InputError(f"{where}{twice[0]!r} comes twice")
    return tuple(values)


def parse_axis(text: str) -> tuple[str, Any]:
    """Read one ``--axis KEY=VALUES`` of the command line: a TOML list or range, or values with commas between."""
    key, equals, value = text.partition("=")
    if not equals or not all(split_key(key)):
        raise InputError(f"--axis {text}: expected KEY=VALUES, such as cluster.instances=1,2,4")
    parsed = parse_value(value)
    if isinstance(parsed, str | int | float) and not isinstance(parsed, bool):
        return key.strip(), [parse_value(part.strip()) for part in value.split(",")]
    return key.strip(), parsed
