"""JSON that a command has stored and sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmsim.errors import InputError
from llmsim.experiment.seal import unsealed
from llmsim.reading import parse_json


def stored(file: Path) -> dict[str, Any]:
    """Read an object; InputError where it is not as it was sealed."""
    values = parse_json(unsealed(file).decode(), str(file))
    if not isinstance(values, dict):
        raise InputError(f"{file}: expected a JSON object, as llmsim has written it")
    return values
