"""Routers in the plane of cost and quality (RouterBench, arXiv 2403.12031): their hull, and the area under it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]  #: cost, quality


def hull(points: Sequence[Point]) -> list[Point]:
    """Return the non-decreasing convex hull of points, by cost: what random mixes of them reach at each cost.

    No point of it is both dearer and worse than another; between two of them mixes lie on the line.
    """
    out: list[Point] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if out and quality <= out[-1][1]:
            continue
        while len(out) > 1 and _right_turn_missing(out[-2], out[-1], (cost, quality)):
            out.pop()
        out.append((cost, quality))
    return out


def _right_turn_missing(one: Point, two: Point, three: Point) -> bool:
    """Whether the middle point lies on or below the line between the others."""
    return (two[1] - one[1]) * (three[0] - one[0]) <= (three[1] - one[1]) * (two[0] - one[0])


def quality_at(points: Sequence[Point], costs: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Quality that mixes of points reach at some costs; NaN where nothing is so cheap; no more than the best beyond."""
    corners = hull(points)
    found = np.interp(costs, [cost for cost, _ in corners], [quality for _, quality in corners])
    return np.where(np.asarray(costs) < corners[0][0], np.nan, found)


def area(points: Sequence[Point], least: float, most: float) -> float:
    """Area under the hull between two costs; NaN where it does not begin by the least one."""
    inner = [cost for cost, _ in hull(points) if least < cost < most]
    costs = np.array([least, *inner, most])
    return float(np.trapezoid(quality_at(points, costs), costs))


def aiq(points: Sequence[Point], least: float, most: float) -> float:
    """Average improvement in quality: the mean height of the hull between two costs, as the paper defines it.

    The authors' code divides the area by the largest cost instead (`aiq_of_the_code`).
    """
    return area(points, least, most) / (most - least)


def aiq_of_the_code(points: Sequence[Point], least: float, most: float) -> float:
    """Return what the authors' code calls by the same name: the area, divided by the largest cost."""
    return area(points, least, most) / most
