"""Every error that llmsim raises on purpose.

LlmsimError
├── InputError      what the user gave is wrong: exit code 2 and one clear line
├── PolicyError     a scheduler or router decided something the engine cannot do
├── Interrupted     the user stopped a command that kept something: exit code 130
└── MemoryOverrun   more KV blocks were asked for than there are: an engine bug, never a user's
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LlmsimError(Exception):
    """Base class; its text is one line that a person can act on."""


class InputError(LlmsimError):
    """Bad input. The text says what, where (file, key, line), what was expected, and the nearest right thing."""


class PolicyError(LlmsimError):
    """A policy's decision breaks a limit. The text names policy, time, request and limit."""


class Interrupted(LlmsimError):  # noqa: N818 - reads as the condition it is
    """Ctrl-C, where work was kept. The text says what, and how to go on."""


class MemoryOverrun(LlmsimError):  # noqa: N818 - reads as the condition it is
    """KV blocks taken exceed KV blocks present."""


LEAST_LETTERS = 4  #: of a name that may be the beginning of another


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, else ``"; known: a, b, c"``."""
    choices = sorted(known)
    if (close := closest(name, choices)) is not None:
        return f"; did you mean '{close}'?"
    return f"; known: {', '.join(choices)}" if choices else ""


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to one, if any is close.

    One that begins with all of the name is closer than any that is only spelt alike.
    """
    by_letters = {choice.lower(): choice for choice in sorted(known)}
    longer = [choice for choice in by_letters if len(name) >= LEAST_LETTERS and choice.startswith(name.lower())]
    close = sorted(longer, key=len) or difflib.get_close_matches(name.lower(), by_letters, n=1)
    return by_letters[close[0]] if close else None
