"""An audit in a folder, as JSON, sealed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llmsim
from llmsim.experiment.result_folder import write_json
from llmsim.experiment.seal import question, seal

#: the file whose presence makes a folder that of an audit
AUDIT_FILE = "audit.json"


def write(said: Mapping[str, Any], folder: Path) -> None:
    """Write what ``llmsim audit --json`` prints into an existing folder."""
    write_json(folder / AUDIT_FILE, {"llmsim": llmsim.__version__, **said})
    seal(folder, question(audit=[one["name"] for one in audits_of(said)]))


def audits_of(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The audits of what was written: one, or the two of a claim."""
    both: list[Mapping[str, Any]] | None = said.get("audits")
    return [said] if both is None else both
