"""Commands in Markdown, run as written: ``console`` blocks of ``$ command`` and what it prints.

Files that a page shows (``{code-block} toml`` with ``:caption: NAME``) are written first. A line of ``...`` in an
output stands for any lines. With LLMSIM_REFRESH_DOCS=1 outputs without such a line are written anew instead.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FILE = re.compile(r"^```\{code-block\} \w+\n:caption: (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
REFRESH = bool(os.environ.get("LLMSIM_REFRESH_DOCS"))


@dataclass
class Command:
    """One command of a page, with what the page says that it prints."""

    line: str
    expected: str


def files(page: str) -> dict[str, str]:
    """The files that a page tells its reader to write."""
    return dict(FILE.findall(page))


def commands(block: str) -> list[Command]:
    """Split a console block."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    assert not parts[0].strip(), f"output before the first command: {parts[0]!r}"
    split = [re.match(r"((?:[^\n]*\\\n)*[^\n]*)\n(.*)", part, re.DOTALL) for part in parts[1:]]  # a \ goes on
    return [Command(*match.groups()) for match in split if match]


def run(line: str, folder: Path) -> str:
    """Run a command as a shell does, and return what it prints, without spaces at line ends."""
    here = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    here["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{here['PATH']}"
    shell = ["bash", "-o", "pipefail", "-c", line]
    done = subprocess.run(shell, cwd=folder, env=here, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -13, 141), f"{line}\n{done.stdout}{done.stderr}"  # a pipe closed by head
    return tidy(done.stdout)


def tidy(text: str) -> str:
    """Without spaces at line ends, empty lines at the ends, and the wall time, which differs."""
    text = re.sub(r" in [0-9.]+ s$", "", "\n".join(line.rstrip() for line in text.splitlines()), flags=re.MULTILINE)
    return text.strip("\n")


def agrees(said: str, expected: str) -> bool:
    """Whether an output is what was expected; a line of ``...`` stands for any lines."""
    pattern = re.escape(tidy(expected)).replace(r"\.\.\.", "(?s:.*)")
    return re.fullmatch(pattern, said) is not None


def check(page: Path, folder: Path) -> None:
    """Run all commands of a page in a folder and compare; or write the page anew, if asked to."""
    text = page.read_text(encoding="utf-8")
    for name, content in files(text).items():
        (folder / name).write_text(content, encoding="utf-8")
    wrong = []

    def executed(block: re.Match[str]) -> str:
        lines = []
        for command in commands(block[0]):
            said = run(command.line, folder)
            if not agrees(said, command.expected):
                wrong.append(f"$ {command.line}\n{said}\n--- but the page says ---\n{tidy(command.expected)}")
            keep = "..." in command.expected
            lines.append(f"$ {command.line}\n{command.expected if keep else said + chr(10) if said else ''}")
        return "".join(lines)

    new = BLOCK.sub(executed, text)
    if REFRESH:
        page.write_text(new, encoding="utf-8")
    else:
        assert not wrong, "\n\n".join(wrong)
