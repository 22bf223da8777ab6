"""A sweep as one table: a row for each point, the axes by name, the seed, and every number of the score."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from llmsim.experiment import reported
from llmsim.metrics import catalogue
from llmsim.metrics.distributions import Distributions, interval
from llmsim.metrics.score import Score
from llmsim.metrics.sections.choices import Choices
from llmsim.statistics import Interval
from llmsim.studies.sweep.sweep_definition import Point

if TYPE_CHECKING:
    import pyarrow as pa

#: sections of a score that are no result: what it rests on, and how long the simulation took
LEFT_OUT = ("choices.", "wall_s")


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One run of a sweep: a row of ``sweep.parquet``."""

    axes: Mapping[str, Any]  #: keys of a scenario and the values that its point has
    seed: int
    numbers: Mapping[str, Any]  #: values of its score by dotted name, such as ``ttft_s.p99``; None: withheld, or none
    router_reports: str | None = None  #: whether its router saw an oracle, periodic reports or nothing (None)

    @property
    def verdict(self) -> str:
        """Whether it is steady, or what it is."""
        return str(self.numbers["verdict.answer"])

    @property
    def oracle(self) -> bool:
        """Whether policies saw the true output lengths."""
        return bool(self.numbers.get("prediction.oracle"))

    def to_dict(self) -> dict[str, Any]:
        """Its columns."""
        return {**self.axes, "seed": self.seed, **self.numbers, "router_reports": self.router_reports}

    @classmethod
    def from_dict(cls, columns: Mapping[str, Any], fields: Sequence[str]) -> Self:
        """Read what `to_dict` gave, with these axes; KeyError for anything else."""
        own = {*fields, "seed", "router_reports"}
        numbers = {name: value for name, value in columns.items() if name not in own}
        axes = {name: columns[name] for name in fields}
        return cls(axes, columns["seed"], numbers, columns.get("router_reports"))


def flat(score: Score) -> Iterator[tuple[str, Any]]:
    """Yield the values of a score by dotted name, such as ``("ttft_s.p99", 0.31)``."""
    return ((key, value) for key, value in catalogue.leaves(score.to_dict()) if not key.startswith(LEFT_OUT))


def rows_of(points: Sequence[Point], scores: Mapping[str, Score], *, force: bool = False) -> list[SweepRow]:
    """Return the rows of those points whose scores are there, in the order of the points.

    P99s of runs that are not steady are withheld (None) unless forced; ``verdict.answer`` and ``.reason`` tell which.
    """
    return [
        SweepRow(point.axes, point.scenario.seed, dict(flat(reported(score, force=force))), _reports(score))
        for point in points
        if (score := scores.get(point.key)) is not None
    ]


def _reports(score: Score) -> str | None:
    router = score.section(Choices).router
    return None if router is None else router.reports


def over_seeds(key: str, rows: Sequence[SweepRow], kept: Sequence[Distributions | None]) -> Interval | None:
    """Interval of a number over the runs of one point; None where a run has no such number, or withholds it."""
    values = [value for row in rows if (value := row.numbers.get(key)) is not None]
    if len(values) < len(rows):
        return None
    return interval(key, values, [one for one in kept if one is not None])


def to_arrow(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Turn rows into a table; a name that a row lacks is null there, and so is what has no value (None).

    A KPI's column has the type of its declaration, whatever values there happen to be; others that of their values.
    """
    import pyarrow as pa

    names = list({name: None for row in rows for name in row})
    return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})


def _column(name: str, values: Sequence[Any]) -> pa.Array:
    """One type for a column: a KPI's, or that of its values, doubles for all numbers together, JSON for a mixture."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and (kpi := catalogue.find_kpi(name)) is not None:
        return pa.array(values, pa.int64() if kpi.whole else pa.float64())
    if not kinds:
        return pa.array(values, pa.float64())
    if kinds <= {int, float}:
        return pa.array(values, pa.int64() if kinds == {int} else pa.float64())
    if kinds in ({str}, {bool}):
        return pa.array(values)
    return pa.array([v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pa.string())
