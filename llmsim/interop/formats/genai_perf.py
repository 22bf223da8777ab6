"""Results of GenAI-Perf: its summary (profile_export_genai_perf.json), and what perf_analyzer saves beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.errors import InputError
from llmsim.interop.answers import Answer, each
from llmsim.interop.document import Document
from llmsim.interop.format import Format
from llmsim.interop.measured import Load, MeasuredResult, of_answers, of_summary
from llmsim.interop.nvidia import AMOUNTS, LATENCIES, printed_of
from llmsim.interop.place import Place, known_number
from llmsim.request import Outcome

LACKS = "a summary: its requests are in profile_export.json beside it"
#: of chunks that have nothing in them for a reader
WITHOUT_TEXT = (
    *("[DONE]", '"content":""', '"content": ""', '"text":""', '"text": ""'),
    *('"delta":{}', '"delta": {}', '"choices":[]', '"choices": []'),
)
NO_COUNT = "tokens are not counted in the file: a chunk with text counts as one"


class GenaiPerf(Format):
    """GenAI-Perf's summary; or perf_analyzer's raw file, whose chunks have times and no number of tokens."""

    tool = "GenAI-Perf"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        """Metrics with a unit beside the tool's configuration; or experiments with requests."""
        whole = document.whole
        if isinstance(whole.get("experiments"), list) and "service_kind" in whole:
            return True
        metrics = [whole.get(key) for key in (*LATENCIES, *AMOUNTS)]
        ours = any(isinstance(one, Mapping) and {"unit", "avg"} <= one.keys() for one in metrics)
        return ours and "input_config" in whole and "aiperf_version" not in whole and "schema_version" not in whole

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """One run, or one for each experiment. InputError names file, request and field of what makes it useless."""
        if "experiments" not in document.whole:
            return [of_summary(cls.tool, printed_of(document.whole), LACKS)]
        return [
            _experiment(document.path, number, one) for number, one in enumerate(document.whole["experiments"], start=1)
        ]


def _experiment(file: Path, number: int, experiment: Any) -> MeasuredResult:
    place = Place(file, f"experiment {number}")
    requests = place.table("experiment", experiment).get("requests")
    if not isinstance(requests, list) or not requests:
        raise InputError(f"{file}: experiment {number} holds no requests")
    answers, odd = each(len(requests), lambda i: _answer(Place(file, f"request {i}"), requests[i]))
    notes = [*odd, NO_COUNT, "prompt lengths are not in the file"]
    return of_answers(GenaiPerf.tool, answers, notes=notes, load=_load(experiment.get("experiment")))


def _load(mode: Any) -> Load:
    if not isinstance(mode, Mapping):
        return Load()
    value = known_number(mode.get("value"))
    if mode.get("mode") == "concurrency" and value:
        return Load(max_concurrency=int(value))
    return Load(rate_per_s=value) if mode.get("mode") == "request_rate" and value else Load()


def _answer(place: Place, request: Any) -> Answer:
    request = place.table("the request", request)
    sent_s = place.nanoseconds("timestamp", request.get("timestamp"))
    times = request.get("response_timestamps")
    if not isinstance(times, list):
        raise place.error("response_timestamps", "expected a list of nanoseconds")
    times_s = np.array([place.nanoseconds("response_timestamps", time) for time in times], dtype=np.float64)
    chunks_s = place.ascending("response_timestamps", times_s - sent_s)
    with_text = chunks_s[_with_text(request.get("response_outputs"), len(chunks_s))]
    failed = not len(with_text) or request.get("success") is False
    return Answer(
        chunks_s=with_text,
        tokens=len(with_text),
        sent_s=sent_s,
        outcome=Outcome.ABANDONED if failed else Outcome.FINISHED,
        end_s=float(chunks_s[-1]) if len(chunks_s) and failed else None,
    )


def _with_text(outputs: Any, n: int) -> np.ndarray:
    """Which of n chunks have text, (n,): all, where the file does not keep what they said."""
    if not isinstance(outputs, Sequence) or isinstance(outputs, str) or len(outputs) != n:
        return np.ones(n, np.bool_)
    said = [str(one.get("response", "")) if isinstance(one, Mapping) else str(one) for one in outputs]
    return np.array([bool(text.strip()) and not any(mark in text for mark in WITHOUT_TEXT) for text in said], np.bool_)
