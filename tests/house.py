"""Numbers of the house, as shared/design/HOUSE.md counts them: python tests/house.py [FOLDER OF ANOTHER CHECKOUT]."""

from __future__ import annotations

import ast
import re
import statistics
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from places import ROOT

#: bases of tables that mirror a file: the keys of a scenario in TOML, of a score in JSON
MIRRORS = {"Table", "Section", "Part", "OfRun", "OfRequests"}
MOST_ATTRIBUTES = 15
PERSONS = re.compile(r"\b(who|whom|whoever|nobody|somebody|everybody|anybody|everyone|someone|anyone)\b", re.IGNORECASE)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def prose(file: Path) -> Iterator[tuple[int, str]]:
    """Comments and docstrings of a file, with their lines."""
    with file.open("rb") as source:
        for token in tokenize.tokenize(source.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        documented = isinstance(node, ast.Module | ast.ClassDef | Function)
        if documented and (text := ast.get_docstring(node, clean=False)):
            yield node.body[0].lineno, text


def attributes(node: ast.ClassDef) -> int:
    """Fields of a class: annotated in its body, or set on self in a method."""
    fields = {one.target.id for one in node.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)}
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store):
            fields |= {one.attr} if isinstance(one.value, ast.Name) and one.value.id == "self" else set()
    return len(fields)


def mirrors(node: ast.ClassDef) -> bool:
    """Whether a class has the fields that a file format has."""
    return any(isinstance(base, ast.Name) and base.id in MIRRORS for base in node.bases)


def wide(classes: Iterable[ast.ClassDef]) -> str:
    """The classes with more than 15 attributes, the widest first."""
    sizes = sorted(((attributes(node), node.name) for node in classes), reverse=True)
    return ", ".join(f"{name} {n}" for n, name in sizes if n > MOST_ATTRIBUTES) or "none"


def lines(node: ast.AST) -> int:
    """How many lines a definition has."""
    return node.end_lineno - node.lineno + 1  # type: ignore[attr-defined]


def numbers(root: Path) -> dict[str, object]:
    """Name -> number, of the package in a checkout."""
    files = sorted((root / "llmsim").rglob("*.py"))
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    nodes = [(file, node) for file, tree in trees.items() for node in ast.walk(tree)]
    functions = [(lines(node), f"{file.name}:{node.name}") for file, node in nodes if isinstance(node, Function)]
    classes = [node for _, node in nodes if isinstance(node, ast.ClassDef)]
    code = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    lengths = [(len(file.read_text(encoding="utf-8").splitlines()), file) for file in files]
    texts = [text for file in files for _, text in prose(file)]
    words = sum(len(re.findall(r"\w+", text)) for text in texts)
    persons = sum(len(PERSONS.findall(text)) for text in texts)
    names = Counter(file.name for file in files if file.name != "__init__.py")
    sizes = sorted(length for length, _ in functions)
    top = {path for path in (root / "llmsim").iterdir() if path.suffix in ("", ".py") and not path.name.startswith("_")}
    return {
        "lines / files": f"{sum(length for length, _ in lengths):,} / {len(files)}",
        "entries at the top level": len(top),
        "longest file": "{} ({})".format(*max((length, file.name) for length, file in lengths)),
        "files of more than 400 lines": sum(length > 400 for length, _ in lengths),
        "functions, median / p90 / max": f"{statistics.median(sizes):g} / {sizes[len(sizes) * 9 // 10]} / {sizes[-1]}",
        "functions of 50 lines or more": ", ".join(sorted(name for n, name in functions if n >= 50)) or "none",
        "classes with more than 15 attributes": wide(node for node in classes if not mirrors(node)),
        "  tables of TOML or JSON with more": wide(filter(mirrors, classes)),
        "lines with dict[str, Any]": sum("dict[str, Any]" in line for line in code),
        "file names used twice": sum(n > 1 for n in names.values()),
        "who, nobody, ... per 1,000 words": round(1000 * persons / words, 2),
        "README, lines": len((root / "README.md").read_text(encoding="utf-8").splitlines()),
    }


if __name__ == "__main__":
    for name, number in numbers(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT).items():
        print(f"{name:38} {number}")
