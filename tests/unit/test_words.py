"""Requests, instances and steps are things: comments and docstrings do not call them who, nobody or everybody."""

from __future__ import annotations

import re

from house import PERSONS, prose
from places import ROOT

#: per 1,000 words
MOST = 0.5


def test_things_are_not_called_persons() -> None:
    words, found = 0, []
    for file in sorted((ROOT / "llmsim").rglob("*.py")):
        for line, text in prose(file):
            words += len(re.findall(r"\w+", text))
            found += [f"{file.relative_to(ROOT)}:{line}: {hit[0]}" for hit in PERSONS.finditer(text)]
    told = "\n".join(found)

    assert words > 30_000
    assert 1000 * len(found) / words < MOST, f"{len(found)} in {words:,} words:\n{told}"
