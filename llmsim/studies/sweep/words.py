"""Names and values of axes as text, the same in tables, pictures and pages."""

from __future__ import annotations

import json
import re
from typing import Any

#: letters that a line of a narrow column takes, if no word is longer
LINE = 10


def in_words(value: Any) -> str:
    """A value of an axis as text: numbers and words as they are, tables as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def narrow(name: str, line: int = LINE) -> str:
    """A long name in lines of so many letters, so that it takes no more room than it needs; numbers stay whole."""
    lines = [""]
    for word in re.split(r"(?<=[_/])|(?<=[.-])(?=[^\W\d])", name):
        if len(lines[-1]) + len(word) > line and lines[-1]:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)
