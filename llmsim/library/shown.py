"""What the results of all calls have in common."""

from __future__ import annotations

import contextlib
import html
import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from llmsim.experiment import staged
from llmsim.experiment.seal import check_own


class Shown(ABC):
    """Something that a notebook shows as the command prints it, and that can be kept in a folder."""

    @abstractmethod
    def show(self) -> None:
        """Print what the command prints."""

    @abstractmethod
    def save(self, folder: str | Path) -> Path:
        """Write the files of the command's ``--out`` into a folder, all or none; return it.

        InputError where it holds the result of another question, unless by `force`.
        """

    def _repr_html_(self) -> str:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            self.show()
        return f"<pre>{html.escape(text.getvalue().strip())}</pre>"


def kept(
    folder: str | Path, mark: str, write: Callable[[Path], object], of: str | None = None, *, force: bool = False
) -> Path:
    """Let `write` fill a folder, which appears whole or not at all; return it.

    InputError where it holds the answer to another question than `of`, unless by `force`.
    """
    if of is not None and not force:
        check_own(Path(folder), of, mark)
    with staged(Path(folder), mark) as scratch:
        write(scratch)
    return Path(folder)
