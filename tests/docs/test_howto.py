"""Each how-to, and README.md, is executed as written, and prints what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.console import agrees, check
from places import ROOT, SCENARIOS

PAGES = [page for page in sorted((ROOT / "docs/howto").glob("*.md")) if page.stem != "index"]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_what_a_page_tells_to_run_prints_what_it_says(page: Path, tmp_path: Path) -> None:
    (tmp_path / "scenarios").symlink_to(SCENARIOS)

    check(page, tmp_path)


def test_outputs_are_compared_to_the_letter() -> None:
    assert agrees("TTFT 12 ms", "TTFT 12 ms\n")
    assert agrees("a\nb\nc", "a\n...\nc")
    assert not agrees("TTFT 13 ms", "TTFT 12 ms")
    assert not agrees("TTFT 12 ms\nmore", "TTFT 12 ms")
