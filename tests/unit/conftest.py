"""What tests of all rooms need: pictures that take no time."""

from __future__ import annotations

from pathlib import Path

import pytest

#: a PNG of one dot
DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550"
    "000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)


class _Dot:
    """Takes the place of Matplotlib's canvas: a figure is made, and its file is a dot."""

    def __init__(self, figure: object) -> None:
        pass

    def print_png(self, file: str, metadata: object) -> None:
        Path(file).write_bytes(DOT)


@pytest.fixture(autouse=True)
def pictures_are_dots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw pictures only in tests that are marked with `draws`: that takes a second each, most of all other work."""
    if request.node.get_closest_marker("draws") is None:
        monkeypatch.setattr("llmsim.reports.plots.style.FigureCanvasAgg", _Dot)
