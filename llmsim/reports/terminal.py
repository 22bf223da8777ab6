"""What depends on where output goes: to a terminal, which has a width, or to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.text import Text

if TYPE_CHECKING:
    from rich.table import Table

#: wider than any table: what Rich measures within
WIDEST_COLUMNS = 100_000


def plain_console() -> Console:
    """Return a console that prints text as it is: names may have [brackets] or :colons:, which mean nothing."""
    return Console(highlight=False, markup=False, emoji=False)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Join pieces of text, some of them with a style: ``("carries", "bold")``."""
    return Text.assemble(*parts)


def say(console: Console, text: str | Text, *, style: str | None = None) -> None:
    """Print a sentence: a terminal gets it broken between words, a file as it is, so that it can be found."""
    console.print(text, soft_wrap=not console.is_terminal, style=style)


def show(console: Console, table: RenderableType) -> None:
    """Print a table: a terminal gets it folded to its width, a file whole."""
    if not console.is_terminal:
        console.width = WIDEST_COLUMNS
    console.print(table)


def fits(console: Console, table: Table) -> bool:
    """Whether a table has room without folding anything."""
    return console.measure(table, options=console.options.update(max_width=WIDEST_COLUMNS)).maximum <= console.width
