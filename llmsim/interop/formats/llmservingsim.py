"""Results of LLMServingSim, a simulator: a CSV with one row for each request, in nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llmsim.errors import InputError
from llmsim.interop.answers import Answer, each
from llmsim.interop.document import Document
from llmsim.interop.format import Format
from llmsim.interop.measured import MeasuredResult, of_answers
from llmsim.interop.place import Place, known_number
from llmsim.reading import parse_json

COLUMNS = ("arrival", "end_time", "latency", "TTFT", "TPOT")
NANO_S = 1e-9


class Llmservingsim(Format):
    """Rows with the gaps between tokens (ITL) since version 1.0, with their mean alone before."""

    tool = "LLMServingSim"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        """The columns of its CSV."""
        return document.written_in == "CSV" and set(COLUMNS) <= document.first.keys()

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """One run. InputError names file, request and column of what makes it useless."""
        rows = document.objects
        answers, odd = each(len(rows), lambda i: _answer(Place(document.path, f"row {i + 2}"), rows[i]))
        return [of_answers(cls.tool, answers, notes=odd)]


def _answer(place: Place, row: Mapping[str, str]) -> Answer:
    values = {name: _number(place, name, row) for name in COLUMNS}
    ttft_s, e2e_s = (place.not_negative(name, values[name] * NANO_S) for name in ("TTFT", "latency"))
    if ttft_s > e2e_s:
        raise place.error("TTFT", f"{ttft_s} s is more than latency, {e2e_s} s")
    gaps_s = _gaps_s(place, row.get("ITL", ""))
    if gaps_s is None:
        # `output` is the whole sequence in some versions and the answer in others: the mean gap tells.
        tokens = 1 + round((e2e_s - ttft_s) / (values["TPOT"] * NANO_S)) if values["TPOT"] > 0 else 1
        chunks_s = np.array([ttft_s, e2e_s])
    else:
        tokens = len(gaps_s) + 1
        chunks_s = np.cumsum(np.concatenate([[ttft_s], gaps_s]))
    return Answer(
        chunks_s=chunks_s,
        tokens=place.count("output", tokens),
        sent_s=place.number("arrival", values["arrival"] * NANO_S),
        prompt_tokens=place.count("input", int(_number(place, "input", row))) if row.get("input") else 0,
        end_s=e2e_s if gaps_s is None else None,
        spread=gaps_s is None and tokens > 1,
    )


def _number(place: Place, name: str, row: Mapping[str, str]) -> float:
    value = known_number(row.get(name))
    if value is None:
        raise place.error(name, f"expected a number, got {row.get(name)!r}")
    return value


def _gaps_s(place: Place, text: str) -> np.ndarray | None:
    if not text.strip():
        return None
    try:
        gaps = parse_json(text, "ITL")
    except (ValueError, InputError):
        raise place.error("ITL", "expected a list of nanoseconds") from None
    return place.gaps("ITL", gaps) * NANO_S
