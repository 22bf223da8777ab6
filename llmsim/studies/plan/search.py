"""Where a property changes along a line of sizes: bracketing, then bisection."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

X = TypeVar("X")


def boundary(
    holds: Callable[[X], bool],
    start: X,
    *,
    easier: Callable[[X], X | None],
    harder: Callable[[X], X | None],
    between: Callable[[X, X], X | None],
) -> tuple[X | None, X | None]:
    """Return neighbours (holds there, does not), either None where the line ends first.

    `holds` is true from some place on in the easy direction. `easier` and `harder` step outwards, None at the end of
    the line; `between` gives a place between two, None where they are neighbours.
    """
    good, bad = (start, None) if holds(start) else (None, start)
    while bad is None and good is not None:
        further = harder(good)
        if further is None:
            return good, None
        good, bad = (further, None) if holds(further) else (good, further)
    while good is None and bad is not None:
        further = easier(bad)
        if further is None:
            return None, bad
        good, bad = (further, bad) if holds(further) else (None, further)
    assert good is not None
    assert bad is not None
    while (middle := between(good, bad)) is not None:
        if holds(middle):
            good = middle
        else:
            bad = middle
    return good, bad
