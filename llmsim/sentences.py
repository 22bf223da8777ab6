"""Sentences for people: a terminal gets them broken between words, a file as they are, so that they can be found."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def say(console: Console, text: str, *, style: str | None = None, markup: bool = True) -> None:
    """Print a sentence, however long it is."""
    console.print(text, soft_wrap=not console.is_terminal, style=style, markup=markup)
