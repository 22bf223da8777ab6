"""The gaps between tokens, pooled over requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from llmsim.metrics import ranges
from llmsim.metrics.convex_runs import gap_runs
from llmsim.metrics.ranges import BLOCK, later_segments, layout
from llmsim.record import Floats, Ints, Timelines
from llmsim.statistics.arithmetic_series import Series
from llmsim.statistics.percentiles import Parts, Population
from llmsim.step_ends import StepEnds

#: where there is a change in fewer than so many steps, what stands between them is not worked out step by step
FEW = 16


@dataclass(frozen=True, eq=False)
class Gaps:
    """All gaps between consecutive tokens of all requests, in parts: (gap in seconds, how many times it was seen).

    A step's gap counts once for each request that decoded through it; heads and the gaps between segments count once
    each. Tokens of one step come together, with no gap between them: these are the gaps of a stream's chunks. Going
    through them costs O(S log S + steps), and memory for one part of the steps.
    """

    timelines: Timelines

    def __iter__(self) -> Iterator[tuple[Floats, Ints]]:
        """Give the gaps of the steps in blocks, then all others."""
        if not self.timelines.together:
            yield from self._all()
            return
        for gaps_s, weights in self._all():
            between = gaps_s > 0
            yield gaps_s[between], weights[between]

    def _all(self) -> Iterator[tuple[Floats, Ints]]:
        """Those of tokens that come together, too."""
        times_s, rows = self.timelines.times_s, layout(self.timelines)
        ranged = rows.steps > 0
        first = np.sort(rows.start[ranged])
        last = np.sort((rows.start + rows.steps - 1)[ranged])
        seen = 0
        for lo in range(0, len(times_s) - 1, BLOCK):
            hi = min(lo + BLOCK, len(times_s) - 1)
            weights = _weights(seen, _within(first, lo, hi), _within(last, lo, hi), hi - lo)
            seen = weights[-1]
            gaps_s = np.diff(times_s[lo : hi + 1])
            if weights.min() > 0:
                yield gaps_s, weights
            else:
                inside = weights > 0
                yield gaps_s[inside], weights[inside]
        gaps_s = self._between_segments_s()
        yield gaps_s, np.ones(len(gaps_s), np.int64)

    def _between_segments_s(self) -> Floats:
        """Gaps from heads to the next tokens, and from a segment to the next one of the request."""
        times_s, rows = self.timelines.times_s, layout(self.timelines)
        led = np.flatnonzero((rows.headed == 1) & (rows.steps > 0))
        later = later_segments(rows)
        return np.concatenate(
            [times_s[rows.start[led]] - rows.head_s[led], rows.first_s[later] - rows.last_s[later - 1]]
        )

    @property
    def total_s(self) -> float:
        """Their sum: from the first to the last token of each request."""
        spans_s = ranges.last_token_s(self.timelines) - ranges.first_token_s(self.timelines)
        return float(np.nansum(spans_s))

    @cached_property
    def population(self) -> Population:
        """All of them, to be found by rank; with few worked out where the ends of steps are formulas."""
        times_s = self.timelines.times_s
        if isinstance(times_s, StepEnds) and not self.timelines.together:
            return self._series(times_s)
        return Parts(self)

    def _series(self, times_s: StepEnds) -> Series:
        """Gaps of the steps of each stretch grow evenly, but for rounding; all others are series of one."""
        rows, single_s = layout(self.timelines), self._between_segments_s()
        ranged = rows.steps > 0
        first, last = np.sort(rows.start[ranged]), np.sort((rows.start + rows.steps - 1)[ranged])
        runs = gap_runs(times_s, first, last)
        weight = np.searchsorted(first, runs.lo, side="right") - np.searchsorted(last, runs.lo, side="right")
        seen = np.flatnonzero(weight)
        lo, count = runs.lo[seen], (runs.hi - runs.lo)[seen]
        growth_s = np.where(count > 1, times_s.growth_s[times_s.rows(lo + 1)], 0.0)
        steps, singles = len(times_s), len(single_s)

        def gaps_s(places: Ints) -> Floats:
            of_steps = places < steps
            at, found_s = places[of_steps], np.empty(len(places))
            found_s[of_steps] = times_s[at + 1] - times_s[at]
            found_s[~of_steps] = single_s[places[~of_steps] - steps]
            return found_s

        return Series(
            value=gaps_s,
            places=np.concatenate([lo, np.arange(steps, steps + singles)]),
            count=np.concatenate([count, np.ones(singles, np.int64)]),
            weight=np.concatenate([weight[seen], np.ones(singles, np.int64)]),
            growth=np.concatenate([growth_s, np.zeros(singles)]),
            error=np.concatenate([2 * runs.error[seen], np.zeros(singles)]),
        )


def _within(ascending: Ints, lo: int, hi: int) -> Ints:
    """Those from lo to before hi, counted from lo."""
    begin, end = np.searchsorted(ascending, [lo, hi])
    return ascending[begin:end] - lo


def _weights(seen: int, first: Ints, last: Ints, size: int) -> Ints:
    """How many ranges are open at each of `size` places, where `seen` are at first, and some begin and end: (size,)."""
    if FEW * (len(first) + len(last)) > size:
        changes = np.bincount(first, minlength=size) - np.bincount(last, minlength=size)
        weights: Ints = seen + np.cumsum(changes)
        return weights
    at = np.concatenate([first, last])
    order = np.argsort(at, kind="stable")
    open_ = seen + np.concatenate([[0], np.cumsum(np.repeat([1, -1], [len(first), len(last)])[order])])
    return np.repeat(open_, np.diff(at[order], prepend=0, append=size))


def pooled_gaps(timelines: Timelines) -> tuple[Floats, Ints]:
    """All `Gaps` at once: (gap in seconds, how many times it was seen). Memory O(S + steps)."""
    values, weights = zip(*Gaps(timelines), strict=True)
    return np.concatenate(values), np.concatenate(weights)
