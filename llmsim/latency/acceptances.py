"""Measured acceptance lengths by name: hardware_profiles/acceptance.toml."""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import Annotated

from pydantic import Field

from llmsim.errors import InputError, nearest
from llmsim.latency.profile_files import Profile, Provenance, profiles_dir, read_record, read_toml


class Acceptances(Profile):
    """Acceptance lengths for 1, 2, ... drafted tokens, by model and data."""

    provenance: Provenance
    measured: dict[str, Annotated[tuple[Annotated[float, Field(ge=1)], ...], Field(min_length=1)]]


@cache
def _shipped() -> Acceptances:
    file = profiles_dir() / "acceptance.toml"
    return read_record(Acceptances, read_toml(file), str(file))


def list_acceptances() -> list[str]:
    """Return the names of all."""
    return sorted(_shipped().measured)


def acceptance_lengths(name: str, drafts: int) -> tuple[float, ...]:
    """Return the acceptance lengths for 0 to so many drafted tokens; InputError for an unknown name, and for too many.

    They never fall: where a measured one is below that for fewer drafted tokens, it is noise.
    """
    known = _shipped().measured
    if name not in known:
        raise InputError(f"no acceptance lengths of '{name}' are shipped{nearest(name, known)}")
    if drafts > len(known[name]):
        raise InputError(f"'{name}' was measured with up to {len(known[name])} drafted tokens, not with {drafts}")
    return (1.0, *accumulate(known[name][:drafts], max))
