"""Results of AIPerf: its records (profile_export.jsonl) and its summary (profile_export_aiperf.json)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.errors import InputError
from llmsim.interop.aiperf_saved import records, summary
from llmsim.interop.answers import Answer, each
from llmsim.interop.document import Document
from llmsim.interop.format import Savable
from llmsim.interop.measured import Load, MeasuredResult, of_answers, of_summary
from llmsim.interop.nvidia import UNIT_S, printed_of
from llmsim.interop.place import Place, known_number
from llmsim.interop.saving import Served
from llmsim.request import Outcome

OWN = frozenset({"aiperf_version", "schema_version", "benchmark_id", "run_info", "was_cancelled", "error_summary"})
LACKS = "a summary: its requests are in profile_export.jsonl (aiperf profile --export-level records)"


class Aiperf(Savable):
    """AIPerf's exports: records have the time of each chunk where the answer was streamed."""

    tool = "AIPerf"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        """A record's metadata and metrics, or the keys of a summary that GenAI-Perf's does not have."""
        record = document.first or document.whole
        if isinstance(record.get("metadata"), Mapping):
            return "request_start_ns" in record["metadata"]
        metrics = any(isinstance(value, Mapping) and "unit" in value for value in document.whole.values())
        return "aiperf_version" in document.whole or (metrics and bool(OWN & document.whole.keys()))

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        """One run. InputError names file, request and field of what makes it useless."""
        record = document.first or document.whole
        if "metadata" in record and "metrics" not in record:
            raise InputError(f"{document.path}: AIPerf's raw records, without metrics; expected profile_export.jsonl")
        if "metadata" in record:
            return [_records(document.path, document.objects)]
        return [of_summary(cls.tool, printed_of(document.whole), LACKS, load=_load(document.whole))]

    @classmethod
    def text(cls, served: Served, file: Path) -> str:
        """Records in a file that ends in .jsonl, the summary in any other."""
        if file.suffix == ".jsonl":
            return "".join(json.dumps(one, allow_nan=False) + "\n" for one in records(served))
        return json.dumps(summary(served), indent=2, allow_nan=False) + "\n"


def _records(file: Path, records: list[Any]) -> MeasuredResult:
    kept = [one for one in records if not (isinstance(one, Mapping) and _warm_up(one))]
    warm_up = len(records) - len(kept)
    if not kept:
        raise InputError(f"{file}: holds no requests but {warm_up} of the warm-up")
    answers, odd = each(len(kept), lambda i: _answer(Place(file, f"request {i}"), kept[i]))
    notes = [*odd]
    if warm_up:
        notes.append(f"{warm_up} requests of the warm-up are left out")
    return of_answers(Aiperf.tool, answers, notes=notes)


def _warm_up(record: Mapping[str, Any]) -> bool:
    metadata = record.get("metadata")
    return isinstance(metadata, Mapping) and metadata.get("benchmark_phase") == "warmup"


def _answer(place: Place, record: Any) -> Answer:
    record = place.table("the record", record)
    metadata = place.table("metadata", record.get("metadata"))
    metrics = _Metrics(place, place.table("metrics", record.get("metrics") or {}))
    start_s, end_s = (
        place.nanoseconds(f"metadata.{key}", metadata.get(key)) for key in ("request_start_ns", "request_end_ns")
    )
    failed = record.get("error") is not None or metadata.get("was_cancelled") is True
    e2e_s = metrics.seconds("request_latency")
    chunks_s = metrics.chunks_s(e2e_s)
    tokens = metrics.count("output_sequence_length")
    if not failed and (e2e_s is None or tokens is None):
        raise place.error("metrics", "expected request_latency and output_sequence_length")
    return Answer(
        chunks_s=chunks_s,
        tokens=len(chunks_s) if failed or tokens is None else tokens,
        sent_s=start_s,
        prompt_tokens=metrics.count("input_sequence_length") or metrics.count("error_isl") or 0,
        outcome=Outcome.ABANDONED if failed else Outcome.FINISHED,
        end_s=max(end_s - start_s, 0.0) if e2e_s is None else e2e_s,
        error=_words(record.get("error")) or ("cancelled" if failed else ""),
    )


def _words(error: Any) -> str:
    return str(error.get("message") or error.get("type") or error) if isinstance(error, Mapping) else str(error or "")


class _Metrics:
    """The metrics of a record, {value, unit} each."""

    def __init__(self, place: Place, metrics: Mapping[str, Any]) -> None:
        self._place, self._metrics = place, metrics

    def _value(self, key: str) -> tuple[Any, float | None]:
        metric = self._metrics.get(key)
        if metric is None:
            return None, None
        table = self._place.table(key, metric)
        return table.get("value"), UNIT_S.get(str(table.get("unit")))

    def seconds(self, key: str) -> float | None:
        """A time, or None where the record has none."""
        value, unit_s = self._value(key)
        if value is None:
            return None
        if unit_s is None:
            raise self._place.error(key, f"expected a unit of time: {', '.join(UNIT_S)}")
        return self._place.not_negative(key, value) * unit_s

    def count(self, key: str) -> int | None:
        """A number of tokens, or None where the record has none."""
        value, _ = self._value(key)
        return None if value is None else self._place.count(key, value)

    def chunks_s(self, e2e_s: float | None) -> np.ndarray:
        """When chunks came, after the sending: one alone, the end, where the answer was not streamed."""
        first_s = self.seconds("time_to_first_token")
        if first_s is None:
            return np.empty(0) if e2e_s is None else np.array([e2e_s])
        gaps, unit_s = self._value("inter_chunk_latency")
        if gaps is None:
            return np.array([first_s] if e2e_s is None or e2e_s <= first_s else [first_s, e2e_s])
        if unit_s is None:
            raise self._place.error("inter_chunk_latency", f"expected a unit of time: {', '.join(UNIT_S)}")
        gaps_s = self._place.gaps("inter_chunk_latency", gaps) * unit_s
        return np.cumsum(np.concatenate([[first_s], gaps_s]))


def _load(summary: Mapping[str, Any]) -> Load:
    """How it was sent: the last phase that is no warm-up, or the options of versions before it had phases."""
    config = summary.get("input_config")
    config = config if isinstance(config, Mapping) else {}
    phases = config.get("phases")
    if isinstance(phases, list):
        kept = [
            one for one in phases if isinstance(one, Mapping) and "warmup" not in (one.get("kind"), one.get("name"))
        ]
        return _phase_load(kept[-1]) if kept else Load()
    sent = config.get("loadgen", config)
    sent = sent if isinstance(sent, Mapping) else {}
    return Load(rate_per_s=known_number(sent.get("request_rate")), max_concurrency=_cap(sent))


def _phase_load(phase: Mapping[str, Any]) -> Load:
    """Of a phase: all at once with a cap, or at a rate; others, such as fixed_schedule, have neither."""
    kind = phase.get("type")
    if kind == "concurrency":
        return Load(rate_per_s=math.inf, max_concurrency=_cap(phase))
    shapes = {"poisson": 1.0, "constant": math.inf, "gamma": known_number(phase.get("smoothness"))}
    rate = known_number(phase.get("rate")) if kind in (*shapes, "user_centric") else None
    return Load(rate, shapes.get(str(kind)), _cap(phase))


def _cap(sent: Mapping[str, Any]) -> int | None:
    cap = known_number(sent.get("concurrency"))
    return int(cap) if cap is not None and cap >= 1 else None
