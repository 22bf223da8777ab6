"""Requests that would miss other bounds than those asked for: what the sliders of a page choose among.

A run's requests are counted at each combination of steps of the bounds, and nothing is interpolated. The steps are
even by ratio: for one bound 6 an octave, for two 4 an octave, for more 4 in three octaves; from about a third of what
was asked to about three times that.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Self

import numpy as np

from llmsim.metrics import slo
from llmsim.metrics.distributions import Distributions
from llmsim.metrics.scored import Requests
from llmsim.metrics.slo import GRACE_S
from llmsim.record import Floats
from llmsim.statistics.shares import Clusters, clusters_of, pooled

#: octaves from the bound asked for to either end
REACH = 1.5
#: steps to either side, by how many bounds move together; of more, STEPS_OF_MANY
STEPS = {1: 9, 2: 6}
STEPS_OF_MANY = 2
#: share of requests that miss, beyond which nothing is counted: such a bound is met by no cluster that is worth having
MOST_MISSING = 0.5
#: digits of the effective number of clusters
DIGITS = 6


@dataclass(frozen=True, slots=True)
class MovedBounds:
    """Requests of one run that miss bounds, at every combination of their steps."""

    bounds: Mapping[str, tuple[float, ...]]  #: steps of each bound, seconds, ascending; the middle one was asked for
    cells: tuple[Clusters | None, ...]  #: the last bound moves fastest; None: more than `MOST_MISSING` miss

    @classmethod
    def of(cls, values_s: Mapping[str, Floats], asked_s: Mapping[str, float], unseen: int = 0) -> Self:
        """Count; `values_s` are of the requests in order of arrival, (n,), and a request keeps all bounds or misses.

        `unseen`: so large a cluster may be, though the run has none of that size.
        """
        bounds = {name: around(bound_s, len(asked_s)) for name, bound_s in asked_s.items()}
        kept = {name: [values_s[name] <= step + GRACE_S for step in steps] for name, steps in bounds.items()}
        cells = (_counted(np.logical_and.reduce(met), unseen) for met in itertools.product(*kept.values()))
        return cls(bounds, tuple(cells))

    @property
    def asked(self) -> Clusters | None:
        """The requests that miss the bounds that were asked for: they are in the middle of their steps."""
        return self.cells[len(self.cells) // 2]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, as `from_dict` reads them."""
        cells = [None if one is None else [one.events, one.squares, one.largest] for one in self.cells]
        of = next((one.of for one in self.cells if one is not None), 0)
        return {"bounds": {name: list(steps) for name, steps in self.bounds.items()}, "of": of, "cells": cells}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; KeyError, TypeError or ValueError for anything else."""
        cells = (None if one is None else Clusters(values["of"], *one) for one in values["cells"])
        return cls({name: tuple(steps) for name, steps in values["bounds"].items()}, tuple(cells))


def around(bound_s: float, together: int = 1) -> tuple[float, ...]:
    """The steps of a bound, of two digits each; in the middle the bound itself, as it is."""
    side = STEPS.get(together, STEPS_OF_MANY)
    return tuple(float(f"{bound_s * 2 ** (REACH * k / side):.2g}") if k else bound_s for k in range(-side, side + 1))


def _counted(met: np.ndarray[Any, np.dtype[np.bool_]], unseen: int) -> Clusters | None:
    if not len(met) or len(met) - np.count_nonzero(met) > MOST_MISSING * len(met):
        return None
    found = clusters_of(~met)
    return Clusters(found.of, found.events, found.squares, max(found.largest, unseen))


def of_slo(asked: Requests, kept: Distributions, name: str | None = None) -> MovedBounds | None:
    """The requests that would miss an SLO of other bounds, or its bound of this name; None without an SLO.

    `kept` are the distributions of their latencies. Deadlines of tokens, and bounds of 0, which have no multiples, stay
    as they are, and all beside them: there is one cell then.
    """
    if asked.slo is None:
        return None
    timelines = asked.counted
    bounds_s = {key: bound_s for key, bound_s in asked.slo.given().items() if name in (None, key)}
    unseen = kept.largest_of_the_worst({"ttft_s", *asked.slo.given()})
    order = np.argsort(timelines.arrival_s, kind="stable")
    if not all(bound_s > 0 and key in slo.BOUNDED_S for key, bound_s in bounds_s.items()):
        each = slo.meets_each(timelines, asked.slo)
        return MovedBounds({}, (_counted((slo.joint(each) if name is None else each[name])[order], unseen),))
    values_s = {key: value_s[order] for key, value_s in slo.values_s(timelines, bounds_s).items()}
    return MovedBounds.of(values_s, bounds_s, unseen)


@dataclass(frozen=True, slots=True)
class PooledCell:
    """Requests of all runs that miss one combination of bounds."""

    events: int
    squares: int  #: sum of the squared sizes of their clusters
    largest: int  #: cluster
    effective: float  #: clusters of equal size that they are worth (`statistics.shares.Pooled`)


@dataclass(frozen=True, slots=True)
class PooledBounds:
    """`MovedBounds` of all runs together."""

    bounds: Mapping[str, tuple[float, ...]]
    of: int  #: requests
    cells: tuple[PooledCell | None, ...]  #: None: in some run more than `MOST_MISSING` miss

    @classmethod
    def of_runs(cls, runs: Sequence[MovedBounds]) -> Self:
        """Pool runs whose bounds have the same steps."""
        cells = tuple(_pooled(cells) for cells in zip(*(run.cells for run in runs), strict=True))
        of = sum(next((one.of for one in run.cells if one is not None), 0) for run in runs)
        return cls(runs[0].bounds, of, cells)

    def asked_only(self) -> Self:
        """What is known at the bounds that were asked for."""
        return replace(self, bounds={}, cells=(self.cells[len(self.cells) // 2],))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, as `from_dict` and ``what_if.js`` read them."""
        cells = [None if one is None else list(astuple(one)) for one in self.cells]
        return {"bounds": {name: list(steps) for name, steps in self.bounds.items()}, "of": self.of, "cells": cells}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        bounds = {name: tuple(steps) for name, steps in values["bounds"].items()}
        return cls(bounds, values["of"], tuple(None if one is None else PooledCell(*one) for one in values["cells"]))


def _pooled(of_runs: Sequence[Clusters | None]) -> PooledCell | None:
    known = [one for one in of_runs if one is not None]
    if len(known) < len(of_runs):
        return None
    one = pooled(known)
    return PooledCell(one.events, int(one.squares), one.largest, round(one.effective, DIGITS))
