"""What vLLM's benchmark and its descendant in SGLang save alike: lists with one entry for each request.

Lists: `ttfts` (s), `itls` (lists of gaps between chunks, s), `output_lens`, and where saved `input_lens`, `start_times`
(s, any clock), `latencies` (s), `errors` (text, empty if none).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.errors import InputError
from llmsim.interop.answers import Answer, each
from llmsim.interop.document import Document
from llmsim.interop.measured import Load, MeasuredResult, of_answers, of_summary, printed_numbers
from llmsim.interop.place import Place, known_number, short
from llmsim.record import Floats
from llmsim.request import Outcome

#: one of these tells how long an answer took as a whole
WHOLE = ("itls", "latencies")
#: of its other gaps, the share that a gap to a chunk without text at most has
NO_TIME = 0.1
STATISTICS = {"mean": "mean", "median": "p50", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """In what one benchmark differs from the other."""

    tool: str
    details: str  #: the option that saves requests one by one
    latencies: Mapping[str, str]  #: its name of a latency -> ours
    rates: Mapping[str, tuple[str, float]]
    rescales: bool  #: its send times, so that their rate is exact

    def printed(self, run: Mapping[str, Any]) -> dict[str, float]:
        """What the benchmark has printed, under the names of a score, in seconds."""
        names = {
            f"{statistic}_{theirs}_ms": (f"{ours}.{STATISTICS[statistic]}", 1e-3)
            for theirs, ours in self.latencies.items()
            for statistic in STATISTICS
        }
        return printed_numbers(run, {**names, **self.rates})


def read_run(file: Path, run: Mapping[str, Any], dialect: Dialect, where: str = "") -> MeasuredResult:
    """One run, with its requests if they were saved, and with what was printed anyway."""
    printed, load = dialect.printed(run), load_of(run, dialect)
    if not _is_list(run, "ttfts") or not _is_list(run, "output_lens") or not any(_is_list(run, key) for key in WHOLE):
        _check_present(file, run, printed, dialect, where)
        lacks = f"no details of requests: {dialect.details} saves them"
        return of_summary(dialect.tool, _with_lists(printed, run), lacks, load=load)
    return _detailed(file, run, dialect, printed, load)


def _check_present(
    file: Path, run: Mapping[str, Any], printed: Mapping[str, float], dialect: Dialect, where: str
) -> None:
    for key in ("ttfts", "output_lens", *WHOLE):
        if key in run and run[key] is not None and not isinstance(run[key], list):
            raise InputError(f"{file}: {key}: expected a list with one entry per request, got {short(run[key])}")
    if not set(_with_lists(printed, run)) - {"duration_s"}:
        raise InputError(f"{file}: {where}{dialect.tool}: neither requests nor results; is the file complete?")


def _is_list(run: Mapping[str, Any], key: str) -> bool:
    return isinstance(run.get(key), list)


def _with_lists(printed: Mapping[str, float], run: Mapping[str, Any]) -> dict[str, float]:
    """Add what lists tell that are kept without the others (vLLM keeps latencies); a failed request has 0."""
    values: dict[str, float] = {}
    for key, ours in (("ttfts", "ttft_s"), ("latencies", "e2e_s")):
        found = [known_number(value) for value in run[key]] if _is_list(run, key) else []
        times_s = np.array([value for value in found if value is not None and value > 0])
        if len(times_s):
            p50, p90, p99 = np.percentile(times_s, [50, 90, 99]).tolist()
            values |= {
                f"{ours}.mean": float(times_s.mean()),
                f"{ours}.p50": p50,
                f"{ours}.p90": p90,
                f"{ours}.p99": p99,
            }
    return {**values, **printed}


def load_of(run: Mapping[str, Any], dialect: Dialect) -> Load:
    """How the benchmark sent requests."""
    ramped = run.get("ramp_up_strategy") is not None  # then request_rate says nothing
    rate = None if ramped else run.get("request_rate")
    rate_per_s = math.inf if rate in ("inf", math.inf) else known_number(rate)
    burstiness = run.get("burstiness")
    cap = known_number(run.get("max_concurrency"))
    return Load(
        rate_per_s=rate_per_s if rate_per_s is not None and rate_per_s > 0 else None,
        burstiness=math.inf if burstiness in ("inf", math.inf) else known_number(burstiness),
        max_concurrency=int(cap) if cap is not None and cap >= 1 else None,
        rescaled=dialect.rescales,
    )


def _detailed(
    file: Path, run: Mapping[str, Any], dialect: Dialect, printed: Mapping[str, float], load: Load
) -> MeasuredResult:
    lists = _Lists.of(file, run)
    if lists.n == 0:
        raise InputError(f"{file}: holds no requests")
    extra = _extra_chunk(lists)
    answers, odd = each(lists.n, lambda i: lists.answer(i, extra))
    notes, differs = [*odd], {}
    if extra:
        notes.append(f"one chunk without text {extra} each answer: merged with the token beside it")
        differs["tbt_s"] = f"the tool counts the gap to the chunk without text {extra} each answer"
    if not lists.prompts:
        notes.append("prompt lengths are not in the file")
    done = sum(one.outcome == Outcome.FINISHED for one in answers)
    completed = known_number(run.get("completed"))
    if completed is not None and completed != done:
        notes.append(f"the tool counts {completed:g} completed requests, its lists hold {done}")
    duration_s = _duration_s(file, run)
    queued = run.get("queue_times")
    whole = isinstance(queued, list) and len(queued) == len(answers) and all(_is_wait(x) for x in queued)
    return of_answers(
        dialect.tool,
        answers,
        duration_s=duration_s,
        dated=lists.starts is not None,
        notes=notes,
        differs=differs,
        printed=printed,
        load=load,
        queued_s=np.array(queued, dtype=np.float64) if whole else None,
    )


def _is_wait(value: Any) -> bool:
    number = known_number(value)
    return number is not None and number >= 0


def _duration_s(file: Path, run: Mapping[str, Any]) -> float | None:
    if run.get("duration") is None:
        return None
    seconds = Place(file, "the run").not_negative("duration", run["duration"])
    return seconds if seconds > 0 else None


@dataclass(frozen=True, slots=True)
class _Lists:
    """The lists of one run, all equally long; those that are not saved are None or empty."""

    file: Path
    n: int
    ttfts: list[Any]
    output_lens: list[Any]
    itls: list[Any] | None
    latencies: list[Any] | None
    errors: list[Any]
    starts: list[Any] | None
    prompts: list[Any]

    @classmethod
    def of(cls, file: Path, run: Mapping[str, Any]) -> _Lists:
        """Take the lists; InputError where one is cut off."""
        n = len(run["ttfts"])
        found = {key: run[key] for key in ("output_lens", "itls", "latencies", "errors", "start_times", "input_lens")
                 if run.get(key) is not None}  # fmt: skip
        for key, value in found.items():
            if not isinstance(value, list):
                raise InputError(f"{file}: {key}: expected a list with one entry per request, got {short(value)}")
            if len(value) != n:
                raise InputError(
                    f"{file}: {key}: {len(value)} entries, but ttfts has {n}; request {min(len(value), n)} is cut off"
                )
        return cls(
            file, n, run["ttfts"], found["output_lens"], found.get("itls"), found.get("latencies"),
            found.get("errors", [""] * n), found.get("start_times"), found.get("input_lens", []),
        )  # fmt: skip

    def answer(self, i: int, extra: str) -> Answer:
        """Request i; `extra` says where a chunk without text is to be taken out."""
        place = Place(self.file, f"request {i}")
        tokens = place.count("output_lens", self.output_lens[i])
        gaps_s = place.gaps("itls", self.itls[i]) if self.itls is not None else np.empty(0)
        ttft_s = 0.0 if self.ttfts[i] is None else place.not_negative("ttfts", self.ttfts[i])
        error = str(self.errors[i] or "")
        failed = bool(error) or (tokens == 0 and ttft_s == 0 and not len(gaps_s))
        if not failed and self.ttfts[i] is None:
            raise place.error("ttfts", "expected a number of seconds, got null")
        chunks_s, end_s = self._chunks_s(place, i, ttft_s, gaps_s, failed)
        if not failed and extra and len(chunks_s) == tokens + 1:
            chunks_s = np.delete(chunks_s, 1 if extra == BEFORE else -1)
        return Answer(
            chunks_s=chunks_s,
            # What a failed request has delivered is in its gaps; its length is not to be trusted.
            tokens=len(chunks_s) if failed else tokens,
            sent_s=0.0 if self.starts is None else place.number("start_times", self.starts[i]),
            prompt_tokens=place.count("input_lens", self.prompts[i]) if self.prompts else 0,
            outcome=Outcome.ABANDONED if failed else Outcome.FINISHED,
            end_s=end_s,
            spread=self.itls is None and not failed and tokens > 1,
            error=error,
        )

    def _chunks_s(
        self, place: Place, i: int, ttft_s: float, gaps_s: Floats, failed: bool
    ) -> tuple[Floats, float | None]:
        """When chunks came, and the request's end where that is saved by itself."""
        end_s = None
        if self.latencies is not None and known_number(self.latencies[i]) is not None:
            end_s = place.not_negative("latencies", self.latencies[i])
        if failed and ttft_s == 0:
            return np.empty(0), end_s
        if self.itls is None:
            if end_s is None:
                raise place.error("latencies", "expected a number of seconds, got null")
            return np.array([ttft_s, max(end_s, ttft_s)]), end_s
        chunks_s = np.cumsum(np.concatenate([[ttft_s], gaps_s]))
        close = end_s is not None and abs(end_s - chunks_s[-1]) <= 1e-6 * end_s  # the same, but for rounding
        return chunks_s, None if close else end_s


BEFORE, AFTER = "before", "after"


def _extra_chunk(lists: _Lists) -> str:
    """Where answers have one chunk more than tokens, beside a token and without text: `BEFORE`, `AFTER`, or nowhere.

    Chat back-ends send a chunk with the role just before the first token, some one more after the last.
    """
    if lists.itls is None:
        return ""
    pairs = zip(lists.output_lens, lists.itls, lists.errors, strict=True)
    more = [gaps for n, gaps, error in pairs if isinstance(gaps, list) and not error and _counts(n, gaps)]
    if not more:
        return ""
    others = float(np.median([np.mean(gaps) for gaps in more]))
    first, last = (float(np.median([gaps[i] for gaps in more])) for i in (0, -1))
    if min(first, last) > NO_TIME * others:
        return ""
    return BEFORE if first <= last else AFTER


def _counts(n: Any, gaps: Sequence[Any]) -> bool:
    """Whether an answer of several tokens has as many gaps as tokens, all of them numbers."""
    return isinstance(n, int) and len(gaps) == n > 1 and all(_is_wait(x) for x in gaps)


def read_runs(document: Document, dialect: Dialect) -> list[MeasuredResult]:
    """Read every run of a file; InputError names file, run, request and field of what is wrong."""
    runs = []
    for number, run in enumerate(document.objects, start=1):
        if not isinstance(run, dict):
            raise InputError(f"{document.path}: expected one JSON object for each run, got {short(run)}")
        where = f"run {number}: " if len(document.objects) > 1 else ""
        runs.append(read_run(document.path, run, dialect, where))
    return runs
