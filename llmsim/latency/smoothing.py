"""Measured times made fit for interpolation: no outliers, no more work in less time, no more points than needed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmsim.latency.operators import Floats

PRUNE = 0.002  #: points that a straight line between their neighbours gives this well are left out
#: a cell that is left out takes more than cells of more work (or less than cells of less) in row and column, and is
#: this many times as much as its neighbours say. A cliff, as where a cache ends, stays.
OUTLIER = 1.25
ROUNDS = 20  #: of making rows and columns ascend in turn


def rounded(values: Sequence[float] | Floats) -> tuple[float, ...]:
    """Five significant digits: the measurements do not hold more."""
    return tuple(float(f"{value:.4e}") for value in values)


def smooth(x: Floats, y: Floats) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Make y ascend, and leave out points that their neighbours give as well."""
    y = isotonic(y)
    kept = needed(x, y)
    return tuple(int(v) for v in x[kept]), rounded(y[kept])


def isotonic(y: Floats) -> Floats:
    """Closest ascending sequence in least squares (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in y:
        mean, count = float(value), 1
        while pools and pools[-1][0] >= mean:
            before, size = pools.pop()
            mean, count = (mean * count + before * size) / (count + size), count + size
        pools.append((mean, count))
    return np.repeat([mean for mean, _ in pools], [count for _, count in pools])


def ascending(grid: Floats) -> Floats:
    """Rows and columns of the logarithms made to ascend in turn, so that a cell gives way as much as its neighbour.

    What is left after `ROUNDS` is raised.
    """
    logs = np.log(grid)
    for _ in range(ROUNDS):
        logs = np.apply_along_axis(isotonic, 1, np.apply_along_axis(isotonic, 0, logs))
    return np.asarray(np.maximum.accumulate(np.maximum.accumulate(np.exp(logs), axis=0), axis=1))


def without_outliers(grid: Floats) -> tuple[Floats, list[tuple[int, int, float]]]:
    """Replace cells that more work undercuts in row and column; also return (row, column, factor) of each.

    A cell's neighbours along an axis give it by the line through their logarithms. The worst one is replaced, then the
    next: a cell beside an outlier is judged without it.
    """
    logs, found = np.log(grid), []
    for _ in range(max(1, grid.size // 10)):
        excess = np.where(_out_of_order(logs), logs - _expected(logs), 0.0)
        row, column = (int(at) for at in np.unravel_index(int(np.abs(excess).argmax()), excess.shape))
        if abs(excess[row, column]) < np.log(OUTLIER):
            break
        found.append((row, column, float(np.exp(excess[row, column]))))
        logs[row, column] -= excess[row, column]
    return np.exp(logs), found


def without_spikes(y: Floats) -> tuple[Floats, list[tuple[int, float]]]:
    """Replace points of a curve that the next one undercuts by far, or the one before exceeds; (index, factor) of each.

    As `without_outliers`, along one axis: the neighbours give a point by the line through their logarithms. A curve may
    have a knee, where its line lies above its neighbours': by as much the next point must lie below, too.
    """
    logs, found = np.log(y)[:, None], []
    for _ in range(max(1, len(y) // 10)):
        steps = np.diff(logs[:, 0])
        down = steps < -np.log(OUTLIER)
        amiss = np.append(down, False) | np.insert(down, 0, False)
        excess = np.where(amiss, (logs - _between(logs))[:, 0], 0.0)
        worst = int(np.abs(excess).argmax())
        if abs(excess[worst]) < np.log(OUTLIER):
            break
        found.append((worst, float(np.exp(excess[worst]))))
        logs[worst] -= excess[worst]
    return np.exp(logs[:, 0]), found


def _out_of_order(logs: Floats) -> NDArray[np.bool_]:
    """Cells above the next ones of row and column, or below the ones before."""
    after = np.pad(logs, ((0, 1), (0, 1)), constant_values=np.inf)
    before = np.pad(logs, ((1, 0), (1, 0)), constant_values=-np.inf)
    above = (logs > after[1:, :-1]) & (logs > after[:-1, 1:])
    below = (logs < before[:-1, 1:]) & (logs < before[1:, :-1])
    return np.asarray(above | below)


def _expected(logs: Floats) -> Floats:
    """What the neighbours say: of row and column the one nearer to the cell itself; the cell, where both disagree."""
    by_row, by_column = _between(logs.T).T, _between(logs)
    one, other = by_row - logs, by_column - logs
    nearer = np.where(np.abs(one) < np.abs(other), by_row, by_column)
    return np.where(one * other > 0, nearer, logs)


def _between(logs: Floats) -> Floats:
    """Means of the cells above and below; at the ends, the line through the next two."""
    found = logs.copy()
    if len(logs) < 3:
        return found
    found[1:-1] = (logs[:-2] + logs[2:]) / 2
    found[0] = np.minimum(2 * logs[1] - logs[2], logs[1])
    found[-1] = 2 * logs[-2] - logs[-3]
    return found


def needed(x: Floats, y: Floats) -> list[int]:
    """Indices of the points that keep the line within `PRUNE` of all (Douglas and Peucker, 1973)."""
    kept, spans = {0, len(x) - 1}, [(0, len(x) - 1)]
    while spans:
        first, last = spans.pop()
        error = np.abs(np.interp(x[first : last + 1], x[[first, last]], y[[first, last]]) / y[first : last + 1] - 1)
        worst = first + int(error.argmax())
        if error.max() > PRUNE:
            kept.add(worst)
            spans += list(pairwise((first, worst, last)))
    return sorted(kept)
