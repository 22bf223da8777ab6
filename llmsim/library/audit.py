"""An audit: `llmsim.audit`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llmsim
from llmsim.experiment.seal import folder_for
from llmsim.library.bounds import choices_of
from llmsim.library.convention import one_process, unchanged
from llmsim.library.opened import audited, open_result, run_scenario
from llmsim.library.shown import Shown, kept
from llmsim.metrics.audit import Audit
from llmsim.metrics.window import Window
from llmsim.studies.audit_folder import AUDIT_FILE, Audited, NamedAudit, is_scenario, question_of

if TYPE_CHECKING:
    from llmsim.library.bounds import Reader, SloBounds


@dataclass(frozen=True, eq=False)
class AuditResult(Shown):
    """Which metrics of a result improve although its users are no better off."""

    name: str
    audit: Audit
    asked: str  #: checksum of what it answers

    @property
    def score(self) -> dict[str, Any]:
        """What ``llmsim audit --json`` prints."""
        return self._named().to_dict()

    def show(self) -> None:
        """Print the table of ``llmsim audit``."""
        from llmsim.reports.tables.audit_tables import show_audit

        show_audit(self.name, self.audit)

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write audit.json and a picture."""
        return kept(folder, AUDIT_FILE, self._write, self.asked, force=force)

    def _write(self, scratch: Path) -> None:
        from llmsim.reports import plots

        named = f"{self.name} · llmsim {llmsim.__version__}"
        plots.save(plots.audit_figure(self.audit, caption=named), scratch / "audit.png")
        Audited([self._named()]).write(scratch, self.asked)

    def _named(self) -> NamedAudit:
        from llmsim.reports.tables.audit_tables import findings

        return NamedAudit(self.name, self.audit, findings(self.audit))


def audit(
    scenario: str | Path,
    overrides: Sequence[str] = (),
    *,
    slo: SloBounds = None,
    user: Reader = None,
    window: str | Window | None = None,
    pace_s: float | None = None,
    run: int | None = None,
    jobs: int = 1,
    out: str | Path | None = None,
    force: bool = False,
) -> AuditResult:
    """Say which metrics of a scenario's run, or of a result, can be gamed, as ``llmsim audit`` does.

    InputError, before anything runs, for an `out` that holds another audit, unless by `force`.
    """
    one_process("audit", jobs, "its simulations go one after another")
    choices, number = choices_of(slo, user, window), None if run is None else str(run)
    asked = question_of([scenario], overrides, choices=choices, run=number, pace_s=pace_s)
    folder_for(None if out is None else Path(out), None, asked, AUDIT_FILE, force=force)
    if not is_scenario(scenario):
        unchanged("audit", scenario, overrides)
        opened = open_result(Path(scenario), choices, number)
    else:
        opened = run_scenario(str(scenario), choices, overrides)
    result = AuditResult(opened.name, audited(opened, pace_s), asked)
    if out is not None:
        result.save(out, force=force)
    return result
