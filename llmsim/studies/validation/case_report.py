"""What a validation says: every number measured and predicted, what was fitted, and which targets are met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

#: of a case's table: columns of its own
Row = Mapping[str, Any]
#: how many of the worst points are named
WORST_POINTS = 5


@dataclass(frozen=True, slots=True)
class Constant:
    """A number that was fitted, and where; it stays as it is for everything else."""

    name: str
    value: float
    unit: str
    fitted_on: str


@dataclass(frozen=True, slots=True)
class Point:
    """One measured number and its prediction."""

    group: str  #: points of a group share a colour in the picture
    label: str
    unit: str
    measured: float
    predicted: float
    role: str = "predicted"  #: "fitted": took part in a fit, and proves nothing

    @property
    def error_percent(self) -> float:
        """(predicted - measured) / measured, in percent."""
        return 100 * (self.predicted / self.measured - 1)

    def columns(self) -> dict[str, str | float]:
        """What every table of points has of it, after columns of its own."""
        names = ("unit", "measured", "predicted", "error_percent")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Check:
    """A target: `value` at most `limit` in absolute terms."""

    name: str
    value: float
    limit: float
    unit: str = "%"

    @property
    def passed(self) -> bool:
        """Whether the target is met; a NaN is a miss."""
        return abs(self.value) <= self.limit


@dataclass(frozen=True, eq=False)
class Report:
    """The outcome of one case."""

    case: str
    about: str  #: what was compared with what, and under which assumptions
    points: tuple[Point, ...]
    checks: tuple[Check, ...]
    rows: tuple[Row, ...]  #: the table: flat, all with the same keys
    fitted: tuple[Constant, ...] = ()
    notes: tuple[str, ...] = ()  #: why points are missed, with the evidence

    @property
    def passed(self) -> bool:
        """Whether all targets are met."""
        return all(check.passed for check in self.checks)

    def worst(self) -> list[Point]:
        """The predicted points that are missed most, the worst first."""
        predicted = (point for point in self.points if point.role != "fitted")
        return sorted(predicted, key=lambda point: -abs(point.error_percent))[:WORST_POINTS]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `report_folder.write` wrote; KeyError or TypeError for anything else."""
        return cls(
            values["case"],
            values["about"],
            tuple(Point(**{name: one[name] for name in Point.__slots__}) for one in values["points"]),
            tuple(Check(**{name: one[name] for name in Check.__slots__}) for one in values["checks"]),
            tuple(values["rows"]),
            tuple(Constant(**one) for one in values["fitted"]),
            tuple(values["notes"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Values for JSON."""
        return {
            "case": self.case,
            "passed": self.passed,
            "about": self.about,
            "fitted": [asdict(constant) for constant in self.fitted],
            "checks": [{**asdict(check), "passed": check.passed} for check in self.checks],
            "rows": [dict(row) for row in self.rows],
            "worst": [{"point": f"{p.group}: {p.label}", **p.columns()} for p in self.worst()],
            "notes": list(self.notes),
        }
