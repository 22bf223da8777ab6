from io import StringIO

import pytest
from rich.console import Console

from llmsim.reports.terminal import say

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
