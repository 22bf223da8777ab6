"""What depends on where output goes: to a terminal, which has a width, or to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: wider than any table: what Rich measures within
WIDEST_COLUMNS = 100_000


def say(console: Console, text: str, *, style: str | None = None, markup: bool = True) -> None:
    """Print a sentence: a terminal gets it broken between words, a file as it is, so that it can be found."""
    console.print(text, soft_wrap=not console.is_terminal, style=style, markup=markup)


def fits(console: Console, table: Table) -> bool:
    """Whether a table has room without folding anything."""
    return console.measure(table, options=console.options.update(max_width=WIDEST_COLUMNS)).maximum <= console.width
