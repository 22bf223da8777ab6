"""One run of a benchmark, as its file tells it: requests, the load, what the tool printed, and what is lacking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmsim.errors import InputError
from llmsim.interop.answers import LEFT_OUT, Answer, timelines_of
from llmsim.interop.place import known_number
from llmsim.metrics.window import Window
from llmsim.record import Floats, Timelines
from llmsim.request import Outcome

ANY = "*"  #: a reason that holds for whatever number has none of its own
#: keys of a score that rest on every gap between tokens
OF_GAPS = ("tbt_s", "smooth_goodput_tokens_per_s", "idle_latency_s")
#: keys of a score that rest on when an answer begins
OF_FIRST_TOKEN = ("ttft_s", "tpot_s")


@dataclass(frozen=True, slots=True)
class Load:
    """How the benchmark sent requests, as far as its file says."""

    rate_per_s: float | None = None  #: infinite: all at once; None: not known
    burstiness: float | None = None  #: of gamma gaps: 1 is Poisson, infinite is constant; None: not known
    max_concurrency: int | None = None  #: requests under way at once, at most
    rescaled: bool = False  #: whether send times were stretched so that the last of n comes exactly at n / rate


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredResult:
    """One run. Times count from the first sending."""

    source: str  #: the tool that has written it
    timelines: Timelines | None  #: None: the file has no requests one by one
    window: Window  #: that its rates are to be divided by: what the tool itself divides by
    chunks: Timelines | None = None  #: of chunks, where these are not the tokens
    unknown: tuple[str, ...] = ()  #: keys of a score that the file does not tell
    dated: bool = True  #: whether it says when requests were sent
    queued_s: Floats | None = None  #: (requests,) waits at the client before the sending; None: not known
    load: Load = Load()
    printed: Mapping[str, float] = field(default_factory=dict)  #: by the tool, under the names of a score
    differs: Mapping[str, str] = field(default_factory=dict)  #: why a printed number need not be the score's, by key
    notes: tuple[str, ...] = ()  #: what had to be assumed, and what is lacking
    run: int = 1
    runs: int = 1  #: in the file

    def requests(self, path: Path, purpose: str) -> Timelines:
        """The timelines; InputError where there are none: for what they were wanted, and how to get them."""
        if self.timelines is None:
            raise InputError(f"{path}: {purpose} needs requests one by one; {self.source}, {'; '.join(self.notes)}")
        return self.timelines


def of_answers(
    source: str,
    answers: Sequence[Answer],
    *,
    duration_s: float | None = None,
    dated: bool = True,
    notes: Sequence[str] = (),
    differs: Mapping[str, str] | None = None,
    **more: Any,
) -> MeasuredResult:
    """A run from its requests; `duration_s` is what the tool divides by, first sending to last end if not given.

    Further arguments are fields of `MeasuredResult`. Where requests are not dated and there is no duration, there are
    no rates.
    """
    timelines, chunks = timelines_of(answers)
    said, why = list(notes), dict(differs or {})
    unknown: tuple[str, ...] = ()
    at_once = [one for one in answers if one.at_once]
    if at_once:
        said.append(f"{len(at_once)} of {len(answers)} answers came in one piece, at their end")
    if at_once and len(at_once) == sum(one.tokens > 0 for one in answers):
        unknown = (*OF_GAPS, *OF_FIRST_TOKEN)
        said.append("no token has a time of its own: no TTFT, TPOT, ITL, smooth goodput")
    elif any(one.spread for one in answers):
        unknown = OF_GAPS
        said.append("gaps between tokens are not in the file: no ITL, no smooth goodput")
    if not dated:
        said.append("send times are not in the file")
        duration_s = math.nan if duration_s is None else duration_s
    many = sum(len(one.chunks_s) != one.tokens for one in answers if not (one.spread or one.at_once))
    if chunks is not None and many:
        said.append(f"chunks are not tokens in {many} of {len(answers)} requests: ITL is between chunks")
    failed = [one for one in answers if one.outcome != Outcome.FINISHED]
    if failed:
        said.append(_failures(failed))
        for key in ("ttft_s", "tpot_s", "tbt_s", "e2e_s"):
            why.setdefault(key, f"{len(failed)} failed requests count as cut short here, the tool leaves them out")
    if any(LEFT_OUT in note for note in said):
        why.setdefault(ANY, "some of its requests are left out here")
    window = Window(kind="makespan", duration_s=duration_s)
    return MeasuredResult(source, timelines, window, chunks, unknown, dated, notes=tuple(said), differs=why, **more)


def _failures(failed: Sequence[Answer]) -> str:
    reasons = [" ".join(one.error.split())[:80] for one in failed if one.error.strip()]
    most = max(set(reasons), key=reasons.count) if reasons else ""
    return f"{len(failed)} requests failed" + (f", most often: {most}" if most else "")


def of_summary(source: str, printed: Mapping[str, float], lacks: str, load: Load = Load()) -> MeasuredResult:
    """A run of which only aggregates are known; `lacks` says what would have saved its requests."""
    window = Window(kind="makespan", duration_s=math.nan)
    return MeasuredResult(source, None, window, printed=printed, load=load, notes=(lacks,))


def printed_numbers(values: Mapping[str, Any], names: Mapping[str, tuple[str, float]]) -> dict[str, float]:
    """Those of `values` that have a name in a score: key of the file -> (key of the score, factor)."""
    found = {}
    for key, (name, factor) in names.items():
        number = known_number(values.get(key))
        if number is not None:
            found[name] = number * factor
    return found
