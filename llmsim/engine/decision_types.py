"""Whether a decision is made of what it is to be made of: looked at only when it could not be carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from math import isnan
from numbers import Integral, Real
from typing import Any

from llmsim.scheduler import Decision

MOST_LETTERS = 60  #: of a value in a message


def wrong_type(decision: Decision) -> str | None:
    """Say what in a decision is of another type than its field, or None."""
    for field, (expected, holds) in EXPECTED.items():
        value = getattr(decision, field)
        if not holds(value):
            return f"decided {field} = {shortened(value)}, expected {expected}"
    return None


def shortened(value: object) -> str:
    """A value as it is written, or the beginning of that."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # of an object whose own code fails
        text = f"a {type(value).__name__}"
    return text if len(text) <= MOST_LETTERS else text[:MOST_LETTERS] + "…"


def is_whole(value: object) -> bool:
    """Whether something is a whole number, of Python or NumPy; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _whole_numbers(kind: type[Iterable[Any]] | tuple[type[Iterable[Any]], ...]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and all(map(is_whole, value))


def _chunks(value: Any) -> bool:
    return isinstance(value, Mapping) and all(is_whole(number) for item in value.items() for number in item)


def _pairs(value: Any) -> bool:
    pairs = isinstance(value, tuple | list) and all(isinstance(one, tuple) and len(one) == 2 for one in value)
    return pairs and all(is_whole(number) for one in value for number in one)


#: field -> what it holds, in words and as a test
EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "prefill": ("a mapping of request ids to whole numbers of tokens", _chunks),
    "decode": ("True or False", lambda value: isinstance(value, bool)),
    "hold": ("a set of request ids", _whole_numbers(Set)),
    "preempt": ("a tuple of request ids", _whole_numbers((tuple, list))),
    "order": ("a tuple of request ids", _whole_numbers((tuple, list))),
    "looked_up": ("a tuple of pairs: request id, tokens", _pairs),
    "drafts": ("a mapping of request ids to whole numbers of tokens", _chunks),
    "abandon": ("a set of request ids", _whole_numbers(Set)),
    "review_at_s": ("a number, or None", lambda value: value is None or (isinstance(value, Real) and not isnan(value))),
}
