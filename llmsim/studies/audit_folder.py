"""An audit in a folder, as JSON, sealed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llmsim
from llmsim.experiment.result_folder import write_json
from llmsim.experiment.seal import identity, question, seal
from llmsim.metrics.audit import Audit, Gain
from llmsim.scenario import load_scenario

#: the file whose presence makes a folder that of an audit
AUDIT_FILE = "audit.json"


def is_scenario(target: str | Path) -> bool:
    """Whether an audit simulates this; else it is a result."""
    path = Path(target)
    return not path.is_dir() and (path.suffix == ".toml" or not path.is_file())


def question_of(targets: Sequence[str | Path], changes: Sequence[str], **judged: object) -> str:
    """What an audit answers, as a checksum: of which scenarios or results, and how they are `judged`."""
    of = [
        load_scenario(target, changes).model_dump(mode="json") if is_scenario(target) else identity(target)
        for target in targets
    ]
    return question(audit=of, **{name: str(value) for name, value in judged.items()})


@dataclass(frozen=True)
class NamedAudit:
    """The audit of a result."""

    name: str  #: of the result
    audit: Audit
    words: Sequence[str]  #: what it found

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"name": self.name, **self.audit.to_dict(), "words": list(self.words)}


@dataclass(frozen=True)
class Audited:
    """What ``llmsim audit`` says: of one result, or of several and, of two, of what the second claims."""

    audits: Sequence[NamedAudit]
    gains: Sequence[Gain] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; one audit stands alone."""
        each = [one.to_dict() for one in self.audits]
        if self.gains is not None:
            return {"audits": each, "difference": [gain.to_dict() for gain in self.gains]}
        return each[0] if len(each) == 1 else {"audits": each}

    def write(self, folder: Path, asked: str) -> None:
        """Write what ``llmsim audit --json`` prints into an existing folder, sealed as the answer to a question."""
        write_json(folder / AUDIT_FILE, {"llmsim": llmsim.__version__, **self.to_dict()})
        seal(folder, asked)


def audits_of(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The audits of what was written: one, or the two of a claim."""
    both: list[Mapping[str, Any]] | None = said.get("audits")
    return [said] if both is None else both
