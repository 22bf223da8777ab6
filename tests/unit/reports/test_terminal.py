from io import StringIO

import pytest
from rich import box
from rich.console import Console
from rich.table import Column, Table

from llmsim.reports.terminal import say, show

SENTENCE = "seven little words in a narrow terminal"


@pytest.mark.parametrize(
    ("terminal", "lines"), [(True, ["seven little words", "in a narrow terminal"]), (False, [SENTENCE])]
)
def test_a_terminal_gets_sentences_broken_between_words_and_a_file_gets_them_whole(
    terminal: bool, lines: list[str]
) -> None:
    told = StringIO()

    say(Console(file=told, width=20, force_terminal=terminal, color_system=None), SENTENCE)

    assert [line.rstrip() for line in told.getvalue().splitlines()] == lines


@pytest.mark.parametrize(("terminal", "lines"), [(True, 4), (False, 3)])
def test_a_file_has_room_for_a_table_that_a_narrow_terminal_folds(terminal: bool, lines: int) -> None:
    out = StringIO()
    table = Table(Column("name", overflow="fold"), box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_row("one-name-of-24-characters")

    show(Console(file=out, width=20, force_terminal=terminal, color_system=None), table)

    assert len(out.getvalue().rstrip().splitlines()) == lines
