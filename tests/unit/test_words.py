"""Requests, instances and steps are things: comments and docstrings do not call them who, nobody or everybody."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from places import ROOT

PERSONS = re.compile(r"\b(who|whom|whoever|nobody|somebody|everybody|anybody|everyone|someone|anyone)\b", re.IGNORECASE)
#: per 1,000 words
MOST = 0.5


def prose(file: Path) -> Iterator[tuple[int, str]]:
    """Comments and docstrings of a file, with their lines."""
    source = file.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and (text := ast.get_docstring(node, clean=False)):
            yield node.body[0].lineno, text


def test_things_are_not_called_persons() -> None:
    words, found = 0, []
    for file in sorted((ROOT / "llmsim").rglob("*.py")):
        for line, text in prose(file):
            words += len(re.findall(r"\w+", text))
            found += [f"{file.relative_to(ROOT)}:{line}: {hit[0]}" for hit in PERSONS.finditer(text)]
    told = "\n".join(found)

    assert words > 30_000
    assert 1000 * len(found) / words < MOST, f"{len(found)} in {words:,} words:\n{told}"
