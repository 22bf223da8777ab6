"""What a number of a score is, declared where the number is: on the field of the section that holds it.

A *section* is a part of a score: a frozen dataclass whose numeric fields are declared with a `Kpi`. Each file in
`llmsim/metrics/sections` defines one; it is found by its file, or by an entry point of the group
``llmsim.metrics.sections``. `llmsim.metrics.catalogue` gathers the declarations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import TypeAdapter

if TYPE_CHECKING:
    from llmsim.metrics.scored import Requests, Run
    from llmsim.scenario import Scenario

#: `basis`: what other numbers rest on, such as how many values a mean has; no result, and not compared
#: `test`: whether a rule holds of a run, 1 or 0
Kind = Literal["latency", "time", "rate", "share", "ratio", "count", "cost", "test", "basis"]
MORE, NEITHER, LESS = 1, 0, -1
#: (unit of the value, unit shown) -> factor from one to the other
FACTORS = {("s", "ms"): 1e3, ("share", "%"): 100.0}
#: relative difference below which one run of a simulation is no better than another, unless a KPI says otherwise
MARGIN = 0.01


@dataclass(frozen=True, slots=True)
class Kpi:
    """A number of a score: what it is called, its unit, which way is better.

    It stands in the annotation of a field, ``ttft_s: Annotated[Summary, Kpi("TTFT", "s", "latency", LESS)]``, and of a
    `Summary` speaks of all of its numbers.
    """

    name: str  #: "TTFT"; of a percentile "TTFT p99"
    unit: str = ""  #: of the value, "" for numbers without: "s", "tokens/s", "share"
    kind: Kind = "count"
    better: int = NEITHER  #: `MORE`, `LESS`, or `NEITHER`
    shown_in: str = ""  #: unit in tables and pictures, if another
    also: tuple[str, ...] = ()  #: what others call it
    sample: str = ""  #: what a summary is over, where that is not requests: "of all gaps"
    short: str = ""  #: name for narrow columns, if another
    tail: bool = False  #: a percentile of the far tail, or a summary with one: true of a system in steady state only
    estimated: bool = False  #: of waits: percentiles after Kaplan and Meier where requests were cut short
    margin: float = MARGIN  #: relative difference below which it is noise
    each: tuple[str, ...] = ()  #: of a mapping: the keys that it may have; (): any
    whole: bool = False  #: whether values are whole numbers, by the type of the field
    key: str = ""  #: where it stands in a score, dotted: "ttft_s.p99"; ``*`` for the keys of a mapping

    @property
    def shown_unit(self) -> str:
        """Unit in tables and pictures."""
        return self.shown_in or self.unit

    @property
    def factor(self) -> float:
        """From the value to the unit shown."""
        return FACTORS.get((self.unit, self.shown_unit), 1.0)

    @property
    def short_name(self) -> str:
        """Name for narrow columns."""
        return self.short or self.name


class Part(Mapping[str, Any]):
    """Base of frozen dataclasses in a score: fields by attribute, or as in a mapping by their name in JSON.

    Declare them with ``eq=False``: they are equal to what has the same JSON.

    A field that is None by default is left out of JSON where it is None, others are null there.
    """

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        """Return a field by its name; KeyError for others, and for an optional one that is not there."""
        if name not in self.present():
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.present())

    def __len__(self) -> int:
        return len(self.present())

    def present(self) -> list[str]:
        """Names of the fields that JSON has."""
        return [
            field.name
            for field in fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
            if not (field.default is None and getattr(self, field.name) is None)
        ]

    def changed(self, **values: Any) -> Self:
        """Return a copy with other values in some fields."""
        made: Self = replace(self, **values)  # type: ignore[type-var]  # every subclass is a dataclass
        return made

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: plain(getattr(self, name)) for name in self.present()}


def plain(value: Any) -> Any:
    """Turn parts and mappings within a value into dictionaries, tuples into lists, numbers of NumPy into Python's."""
    if isinstance(value, Part):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return [plain(inner) for inner in value] if isinstance(value, tuple | list) else value


#: made when first needed, as that takes a millisecond each
_READERS: dict[type[Any], TypeAdapter[Any]] = {}


class Section(Part):
    """A part at the top of a score."""

    __slots__ = ()

    key: ClassVar[str] = ""  #: its name in the score; "": its fields stand in the score themselves
    always: ClassVar[bool] = False  #: null in JSON where it does not apply, instead of left out
    compared: ClassVar[bool] = True  #: `llmsim compare` shows its KPIs
    on_request: ClassVar[bool] = False  #: measured, and compared, only where it is asked for

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """Whether runs of a scenario have it."""
        return True

    @classmethod
    def lacks(cls, scenario: Scenario) -> Collection[str]:
        """Keys, within a section that applies, that runs of a scenario do not have."""
        return ()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Make it from JSON values; ValidationError, which is a ValueError, for values of other types."""
        if cls not in _READERS:
            _READERS[cls] = TypeAdapter(cls)
        made: Self = _READERS[cls].validate_python(values)
        return made


class OfRequests(Section, ABC):
    """A section of any requests whose token times are known: of a run, of a class, or measured."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def of(cls, requests: Requests) -> Self | None:
        """Measure; None where the requests have no such thing."""


class OfRun(Section, ABC):
    """A section of a simulated run, which needs more than its token times."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def of(cls, run: Run) -> Self | None:
        """Measure a run to which it applies; None where the run has no such thing after all."""


class ByName(Section):
    """A section that has a part for each of several names, which only the scenario knows: `by_name`."""

    __slots__ = ()

    part: ClassVar[type[Part] | None] = None  #: what each is, where that has KPIs of its own
    by_name: Mapping[str, Any]

    def present(self) -> list[str]:
        """The names."""
        return list(self.by_name)

    def __getitem__(self, name: str) -> Any:
        """Return the part of that name; KeyError if there is none."""
        return self.by_name[name]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: part.to_dict() for name, part in self.by_name.items()}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Make it from JSON values."""
        return super().read({"by_name": values})
