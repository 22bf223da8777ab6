"""The score of a result: `llmsim.score`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from llmsim.errors import InputError
from llmsim.experiment.result_folder import SCENARIO_FILE, write_json
from llmsim.experiment.seal import question, seal
from llmsim.library.bounds import choices_of
from llmsim.library.convention import one_process, unchanged
from llmsim.library.opened import LoadedResult, Scored, open_result, scored, show_scored
from llmsim.library.shown import Shown, kept
from llmsim.metrics.request_table import request_table
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.window import Window
from llmsim.record import Timelines

if TYPE_CHECKING:
    from llmsim.interop.measured_score import FileSummary
    from llmsim.library.bounds import Reader, SloBounds
    from llmsim.metrics.score import Score

SCORE_FILE = "score.json"


@dataclass(frozen=True, eq=False)
class ScoreResult(Shown):
    """The score of a result, simulated or measured, under some SLO and reader."""

    opened: LoadedResult
    forms: bool = False  #: by the rules of other papers, too

    @cached_property
    def score(self) -> Score | FileSummary:
        """The numbers, by key, as ``llmsim score`` prints them; of a file without requests, what it says itself."""
        return self._scored.score

    @cached_property
    def _scored(self) -> Scored:
        return scored(self.opened, forms=self.forms)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``llmsim score --json`` prints."""
        return self._scored.to_dict()

    @property
    def requests(self) -> pd.DataFrame:
        """One row for each request: latencies in seconds, and whether it meets the SLO."""
        timelines = self.opened.requests("a table of requests")
        return pd.DataFrame([row.to_dict() for row in request_table(timelines, self.opened.user, self.opened.slo)])

    def show(self) -> None:
        """Print the table of ``llmsim score``."""
        show_scored(self._scored)

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write score.json; never over that of a run."""
        if (Path(folder) / SCENARIO_FILE).is_file():
            raise InputError(f"{folder}: holds a run, with a score of its own; expected another folder")
        said = self.to_dict()
        asked = question(score=said)

        def write(scratch: Path) -> None:
            write_json(scratch / SCORE_FILE, said)
            seal(scratch, asked)

        return kept(folder, SCORE_FILE, write, asked, force=force)


def score(
    result: str | Path | Timelines,
    overrides: Sequence[str] = (),
    *,
    slo: SloBounds = None,
    user: Reader = None,
    window: str | Window | None = None,
    end_s: float | None = None,
    run: int | None = None,
    forms: bool = False,
    jobs: int = 1,
    out: str | Path | None = None,
    force: bool = False,
) -> ScoreResult:
    """Score a folder of ``llmsim run``, a benchmark's file, or token times, as ``llmsim score`` does.

    There is nothing to change by `overrides`. Any bound of `slo` replaces the result's SLO; `user` changes the reader,
    `window` says which requests count. `run` is the number of a run in a file of several, `end_s` when the run of given
    token times ended. `forms` adds what other papers measure, as ``--all``. An
    `out` that holds another score is refused, unless by `force`; InputError.
    """
    one_process("score", jobs, "nothing is simulated")
    choices = choices_of(slo, user, window)
    unchanged("score", "what is given" if isinstance(result, Timelines) else result, overrides)
    if isinstance(result, Timelines):
        bounds = (choices.slo_or(None), choices.user_or(User()), choices.window_or(Window()))
        opened = LoadedResult("timelines", "as given", result, *bounds, end_s=end_s)
    elif end_s is not None:
        raise InputError(f"score: end_s belongs to token times; {result} says itself when it ended")
    else:
        opened = open_result(Path(result), choices, None if run is None else str(run))
    judged = ScoreResult(opened, forms)
    if out is not None:
        judged.save(out, force=force)
    return judged
