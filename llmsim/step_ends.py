"""When decode steps end, as the numbers that it follows from: a stretch of any length takes five, not one a step.

Step k from the anchor of a stretch (engine/stretch.py) ends at anchor_s + (k first_s + k (k - 1) / 2 growth_s).
`StepEnds` works that out where it is asked for: what asks for few steps costs nothing for all the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: how far the end of a step, or what is left of it by one more operation, may be from the formula's in exact
#: arithmetic, relative to the sum of the formula's terms: 16 times the rounding of one operation
ROUNDING = 2.0**-49
AT_ONCE = 1 << 15  #: steps to expand at a time: few enough to stay in the processor's cache


def step_ends_s(anchor_s: Floats, first_s: Floats, growth_s: Floats, k: Ints) -> Floats:
    """When steps end, k from their anchors each; arrays of one shape, or numbers for all.

    Equal to `Stretch.step_end_s` to the bit.
    """
    ends_s: Floats = anchor_s + (k * first_s + (k * (k - 1) >> 1) * growth_s)
    return ends_s


@dataclass(frozen=True, eq=False)
class StepEnds:
    """Ends of M steps of R stretches, one stretch after another: read like an array of M times."""

    begin: Ints  #: (R,) place of each stretch's first step
    anchor_s: Floats  #: (R,)
    first_s: Floats  #: (R,) of the first step from the anchor
    growth_s: Floats  #: (R,) how much longer each further one takes
    offset: Ints  #: (R,) steps from the anchor to the start
    size: int  #: M
    later_s: float = 0.0  #: added to all of them

    @classmethod
    def of(cls, anchor_s: Floats, first_s: Floats, growth_s: Floats, offset: Ints, steps: Ints) -> StepEnds:
        """From stretches of so many steps each, at least one; arrays of shape (R,)."""
        return cls(np.cumsum(steps) - steps, anchor_s, first_s, growth_s, offset, int(steps.sum()))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, places: slice | Ints) -> Floats:
        """Ends of steps, seconds: of a range, or of places counted from 0."""
        if not isinstance(places, slice):
            return self._at(places, self.rows(places))
        lo, hi, every = places.indices(self.size)
        assert every == 1
        ends_s = np.empty(max(hi - lo, 0))
        self.fill(ends_s, lo)
        return ends_s

    def fill(self, ends_s: Floats, lo: int = 0) -> None:
        """Write the ends of as many steps as there is room for, from one on."""
        hi = lo + len(ends_s)
        for at in range(lo, hi, AT_ONCE):
            upto = min(at + AT_ONCE, hi)
            ends_s[at - lo : upto - lo] = self._between(at, upto)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Every end."""
        every_s = self[:]
        return every_s if dtype is None else every_s.astype(dtype)

    def __add__(self, later_s: float) -> Times:
        """All of them so much later."""
        return replace(self, later_s=later_s) if self.later_s == 0 else self[:] + later_s

    def rows(self, places: Ints) -> Ints:
        """To which stretches steps belong, of the shape of `places`."""
        found: Ints = np.searchsorted(self.begin, places, side="right") - 1
        return found

    def errors_s(self) -> Floats:
        """How far the ends of steps may be from the formula's in exact arithmetic, (R,) seconds."""
        k = self.offset + np.diff(self.begin, append=self.size)
        terms_s = np.abs(self.anchor_s) + k * np.abs(self.first_s) + (k * (k - 1) >> 1) * np.abs(self.growth_s)
        return ROUNDING * (terms_s + abs(self.later_s))

    def _between(self, lo: int, hi: int) -> Floats:
        first, last = self.rows(np.array([lo, hi - 1]))
        begin = np.append(self.begin[first : last + 1], hi)
        begin[0] = lo
        return self._at(np.arange(lo, hi), np.repeat(np.arange(first, last + 1), np.diff(begin)))

    def _at(self, places: Ints, rows: Ints) -> Floats:
        k = places - self.begin[rows] + self.offset[rows] + 1
        ends_s = step_ends_s(self.anchor_s[rows], self.first_s[rows], self.growth_s[rows], k)
        return ends_s if self.later_s == 0 else ends_s + self.later_s


#: ends of steps: one by one, or as the numbers that they follow from
Times: TypeAlias = "Floats | StepEnds"


def spelled_out(parts: Iterable[StepEnds], steps: Sequence[int]) -> tuple[Floats, ...]:
    """All of the ends, of so many steps in each part, as parts of one array, so that `joined` need not copy them."""
    last = np.cumsum(steps)
    own = tuple(np.split(np.empty(int(last[-1])), last[:-1]))
    for ends_s, part in zip(own, parts, strict=True):
        part.fill(ends_s)
    return own


def joined(parts: Sequence[Times]) -> Times:
    """Ends of steps, one part after another; without a copy of those that are one array (`spelled_out`)."""
    compact = [part for part in parts if isinstance(part, StepEnds)]
    if len(compact) < len(parts):
        whole = _whole([part for part in parts if isinstance(part, np.ndarray)])
        return np.concatenate([np.empty(0), *parts]) if whole is None or compact else whole
    before = np.cumsum([0, *(part.size for part in compact)])
    return StepEnds(
        _column(part.begin + so_many for part, so_many in zip(compact, before, strict=False)),
        _column(part.anchor_s for part in compact),
        _column(part.first_s for part in compact),
        _column(part.growth_s for part in compact),
        _column(part.offset for part in compact),
        int(before[-1]),
    )


def _whole(parts: Sequence[Floats]) -> Floats | None:
    """The array that these are the parts of, in order; None where there is none."""
    whole = parts[0].base
    if not isinstance(whole, np.ndarray) or whole.shape != (sum(map(len, parts)),):
        return None
    place = whole.ctypes.data
    for part in parts:
        if part.base is not whole or (len(part) and part.ctypes.data != place):
            return None
        place += part.nbytes
    return whole


def _column(parts: Iterable[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(list(parts))
