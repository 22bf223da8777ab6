"""A class where an object made of it was expected."""

from __future__ import annotations


def check_made(policy: object) -> None:
    """Raise TypeError for a class in place of an object."""
    if isinstance(policy, type):
        raise TypeError(f"{policy.__name__} is a class, expected one made of it, such as {policy.__name__}()")
