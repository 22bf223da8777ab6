"""The HTML page of a folder of results: `llmsim.report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmsim.library.convention import one_process, unchanged
from llmsim.writing import replacing


@dataclass(frozen=True)
class Page:
    """A folder of results as one HTML page."""

    html: str

    def save(self, file: str | Path) -> Path:
        """Write the page, over an earlier page at most; return the file."""
        from llmsim.reports.page import BEGINS

        target = Path(file)
        with replacing(target, BEGINS) as scratch:
            scratch.write_text(self.html, encoding="utf-8")
        return target

    def _repr_html_(self) -> str:
        return self.html


def report(folder: str | Path, overrides: Sequence[str] = (), *, jobs: int = 1, out: str | Path | None = None) -> Page:
    """Make one HTML page of a folder of results, as ``llmsim report`` does; `out` is a file.

    There is nothing to change by `overrides`.
    """
    one_process("report", jobs, "nothing is simulated")
    unchanged("report", folder, overrides)
    from llmsim.reports.page import page

    made = Page(page(Path(folder)))
    if out is not None:
        made.save(out)
    return made
