"""The arguments that all calls have, where one of them could mean nothing: it is refused, not ignored."""

from __future__ import annotations

from collections.abc import Sequence

from llmsim.errors import InputError


def one_process(call: str, jobs: int, why: str) -> None:
    """Refuse processes that would have nothing to do; `why` says it of the call."""
    if jobs != 1:
        raise InputError(f"{call}: jobs = {jobs}: {why}; expected 1")


def unchanged(call: str, what: object, overrides: Sequence[str]) -> None:
    """Refuse changes to what is no scenario."""
    if overrides:
        raise InputError(f"{call}: {overrides[0]}: {what} is a result, only a scenario can be changed")
