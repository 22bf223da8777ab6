"""The score of a measured run: what its file does not tell is left out, what its tool printed is held against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmsim.interop.measured import ANY, MeasuredResult
from llmsim.metrics import ranges, request_latency
from llmsim.metrics.score import Score
from llmsim.metrics.sections.benchmark_file import BenchmarkFile, Printed
from llmsim.metrics.sections.latencies import Latencies
from llmsim.metrics.window import Window, resolve

SAME_SHARE = 5e-4  #: relative; numbers that differ by less do not differ in three digits


def with_what_is_known(score: Score, measured: MeasuredResult, window: Window) -> Score:
    """A score of the run's timelines without what is unknown, ITL between chunks, `notes`, and what was `printed`."""
    if measured.chunks is not None and measured.timelines is not None:
        counted = resolve(window, measured.timelines).counted
        tbt_s = request_latency.summarise_tbt(ranges.select(measured.chunks, counted))
        score = score.having(score.section(Latencies).changed(tbt_s=tbt_s))
    known = score.without(measured.unknown)
    printed = _held_against(measured, known) if window == measured.window else None
    return known.having(BenchmarkFile(list(measured.notes), printed))


def _held_against(measured: MeasuredResult, score: Score) -> dict[str, Printed]:
    """Each number that the tool printed, beside ours."""
    held = {}
    for key, theirs in measured.printed.items():
        ours, why = _of_score(score, key), None
        if ours is not None and abs(ours - theirs) > SAME_SHARE * max(abs(ours), abs(theirs)):
            unknown = measured.differs.get(ANY, "not explained by what the file says")
            why = measured.differs.get(key.partition(".")[0], unknown)
        held[key] = Printed(theirs, ours, why)
    return held


def _of_score(score: Score, key: str) -> float | None:
    """A number of the score by the name that printed ones have; None where it has none, or does not know it."""
    if key == "duration_s":
        key = "choices.window.duration_s"
    elif key == "goodput_requests_per_s":
        return None  # rests on bounds that the file does not keep
    name, _, part = key.partition(".")
    value = score.get(name)
    for step in part.split(".") if part else ():
        value = value.get(step) if isinstance(value, Mapping) else None
    return value if isinstance(value, int | float) else None


@dataclass(frozen=True)
class FileSummary:
    """What can be said of a run without requests one by one: what its tool printed, under the names of a score."""

    source: str  #: of which tool the file is
    notes: tuple[str, ...]
    printed: Mapping[str, float]

    @classmethod
    def of(cls, measured: MeasuredResult) -> FileSummary:
        """Take what the file has."""
        return cls(measured.source, tuple(measured.notes), measured.printed)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "printed": {key: Printed(value, None).to_dict() for key, value in self.printed.items()},
            "notes": list(self.notes),
            "choices": {"times": f"summary ({self.source})"},
        }
