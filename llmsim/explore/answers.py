"""What the page shows of a scenario with changes: numbers, a timeline, the command line for it."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmsim import experiment
from llmsim.errors import InputError, LlmsimError
from llmsim.explore.controls import Control, controls_of
from llmsim.metrics.catalogue import select
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.reports.format import kpi_text
from llmsim.reports.page.run_page import card_values
from llmsim.reports.page.timeline import timeline_data
from llmsim.scenario.load import Change, Source, split_key

#: KPIs below the cards
MORE_KEYS = ("ttft_s.p50", "tbt_s.p50", "tpot_s.mean", "e2e_s.p50", "queueing_s.mean")


@dataclass(frozen=True)
class Question:
    """A scenario as it was given, and what the page may change of it."""

    name: str  #: as the command line takes it
    source: Source
    given: tuple[Change, ...]  #: those of the command that opened the page
    words: tuple[str, ...]  #: these changes, as ``key=value``
    controls: tuple[Control, ...]

    @classmethod
    def of(cls, name: str, source: Source, given: Sequence[Change], words: Sequence[str]) -> Question:
        """Check the scenario, and see what can be changed; InputError as of `llmsim run`."""
        scenario = source.scenario(given)
        experiment.check(scenario)
        return cls(name, source, tuple(given), tuple(words), tuple(controls_of(scenario)))

    def changes(self, values: Mapping[str, Any]) -> list[Change]:
        """The values that differ from the scenario's own; InputError for a key that the page does not have."""
        known = {control.key: control for control in self.controls}
        for key in values:
            if key not in known:
                raise InputError(f"{key}: not on this page")
        return [Change(split_key(key), value) for key, value in values.items() if value != known[key].value]

    def command(self, changes: Sequence[Change]) -> str:
        """The command line that gives the same result."""
        now = [f"{'.'.join(change.keys)}={json.dumps(change.value)}" for change in changes]
        return shlex.join(
            ["llmsim", "run", self.name, *(word for one in (*self.words, *now) for word in ("--set", one))]
        )

    def answer(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Simulate, and return what is to be shown; where that cannot be, why."""
        started_s = time.perf_counter()
        try:
            changes = self.changes(values)
            scenario = self.source.scenario([*self.given, *changes])
            result = experiment.run(scenario)
        except LlmsimError as error:
            return {"error": str(error)}
        score = result.reported(force=True)
        verdict = score.section(RunVerdict)
        return {
            "cards": card_values(score, scenario),
            "more": [(kpi.name, kpi_text(kpi, score[kpi.key])) for kpi in select(*MORE_KEYS)],
            "verdict": {"answer": verdict.answer, "reason": verdict.reason},
            "timeline": timeline_data(scenario, result.record, result.delivered),
            "command": self.command(changes),
            "took_s": round(time.perf_counter() - started_s, 4),
        }
