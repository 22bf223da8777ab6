"""Writes the record of a run while it goes on: buffered rows, turned into columns when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from struct import Struct
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from llmsim.acceptance import Draws
from llmsim.engine.stretch import Stretch
from llmsim.record import (
    ENDED_COLUMNS,
    SEGMENT_COLUMNS,
    SPECULATIVE_SEGMENT_COLUMNS,
    SPECULATIVE_STEP_COLUMNS,
    STEP_COLUMNS,
    TRANSFER_COLUMNS,
    Floats,
    Ints,
    Record,
)
from llmsim.request import Request
from llmsim.step_ends import StepEnds, Times, spelled_out, step_ends_s

ROWS_AT_ONCE = 4096
#: steps to a stretch from which on their ends stay formulas: these take the memory of five steps, and some more time
LONG = 32
#: what is written of each stretch while the run goes on: where its times follow from, instead of them
FORMULA_COLUMNS = {
    "offset": np.int64,
    "anchor_s": np.float64,
    "first_s": np.float64,
    "growth_s": np.float64,
}


class Rows:
    """A growing table. A row is packed and appended in one go, at a third of the cost of ten numbers in an array.

    ``rows.write(rows.pack(...))`` with a number for each column; `add` does both, for rare writes.
    """

    def __init__(self, columns: Mapping[str, type]) -> None:
        self._table = np.dtype(list(columns.items()))
        self._bytes = BytesIO()
        self.write: Callable[[bytes], object] = self._bytes.write
        codes = [self._table[name].char.replace("l", "q") for name in columns]
        self.pack: Callable[..., bytes] = Struct("=" + "".join(codes)).pack

    def add(self, *row: float) -> None:
        """Append a row: a number for each column."""
        self.write(self.pack(*row))

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the table by column, and forget it."""
        table = np.frombuffer(self._bytes.getvalue(), self._table)
        self._bytes.close()
        columns = {name: np.empty(len(table), self._table[name]) for name in self._table.names or ()}
        for few in range(0, len(table), ROWS_AT_ONCE):  # they stay in the cache while column by column is copied
            rows = table[few : few + ROWS_AT_ONCE]
            for name, column in columns.items():
                column[few : few + ROWS_AT_ONCE] = rows[name]
        return columns


class Recorder:
    """Collects a run, cheaply: plain numbers appended to tables."""

    segment_columns: ClassVar[Mapping[str, type]] = SEGMENT_COLUMNS
    step_columns: ClassVar[Iterable[str]] = tuple(STEP_COLUMNS)

    def __init__(self, arrival_s: Floats, prompt_tokens: Ints, output_tokens: Ints, instances: int) -> None:
        self._given = {"arrival_s": arrival_s, "prompt_tokens": prompt_tokens, "output_tokens": output_tokens}
        self._ended = Rows({"id": np.int64, **ENDED_COLUMNS})
        self._segments = Rows({"instance": np.int64, **self.segment_columns})  # instance, then `TokenTimes`
        told = {name: kind for name, kind in STEP_COLUMNS.items() if name not in ("start_s", "end_s")}
        self._stretches = Rows({**told, **FORMULA_COLUMNS})
        self._instances = instances
        self._transfers = Rows(TRANSFER_COLUMNS)
        self._reasons: dict[str, int] = {"": 0}
        self.transfer = self._transfers.add  #: note a handover: a row of `TRANSFER_COLUMNS`

    def stretches(self, instance: int, stretches: Sequence[Stretch]) -> None:
        """Note steps and stretches of an instance."""
        pack = self._stretches.pack
        rows = [
            pack(
                instance,
                each.steps,
                each.prefill_tokens,
                each.decoding,
                each.context_tokens,
                each.kv_blocks_used,
                each.waiting,
                each.running,
                each.offset,
                each.anchor_s,
                each.first_s,
                each.growth_s,
            )
            for each in stretches
        ]
        self._stretches.write(b"".join(rows))

    def segments(self, instance: int, segments: Iterable[tuple[float, ...]]) -> None:
        """Note ranges of token times: of which request, its head, the first step, how many, and their pace."""
        pack = self._segments.pack
        self._segments.write(b"".join([pack(instance, *times) for times in segments]))

    def ended(self, request: Request, instance: int, end_s: float, reason: str) -> None:
        """Note how a request ended."""
        code = self._reasons.setdefault(reason, len(self._reasons)) if reason else 0
        most, computed, recomputed = request.most_computed_tokens, request.prefilled_tokens, request.recomputed_tokens
        rows = self._ended
        rows.write(
            rows.pack(
                request.id,
                request.first_scheduled_s,
                request.first_token_s,
                end_s,
                request.ended_as,
                code,
                request.emitted_before,
                request.preemptions,
                recomputed,
                recomputed + (computed if computed > most else most) - request.cached_tokens,
                request.cached_tokens,
                request.prefill_gpu_s,
                request.recomputed_gpu_s,
                request.left_s,
                instance,
            )
        )

    def finish(self, further: Mapping[str, NDArray[Any]]) -> Record:
        """Return the record: a row for every request that has ended, in order of arrival, then of id.

        `further` has more columns, by id. Ids whose end was never noted did not come to be.
        """
        ended = self._ended.columns()
        id = ended.pop("id")
        order = np.lexsort((id, self._given["arrival_s"][id]))
        id = id[order]
        row = np.full(len(self._given["arrival_s"]), -1)
        row[id] = np.arange(len(id))
        table = self._segments.columns()
        segments = {name: table[name] for name in self.segment_columns}
        transfers = self._transfers.columns()
        for table in (segments, transfers):
            table["request"] = row[table["request"]]
        steps, ends_s = _steps(self._stretch_columns(), self.step_columns, self._instances)
        known = {name: column[id] for name, column in {**self._given, **further}.items()}
        return Record(
            requests=known | {name: column[order] for name, column in ended.items()},
            segments=segments,
            steps=steps,
            step_ends_s=ends_s,
            reasons=tuple(self._reasons),
            end_s=float(ended["end_s"].max(initial=0.0)),
            transfers=transfers,
        )

    def _stretch_columns(self) -> dict[str, NDArray[Any]]:
        """Return what was noted of stretches, and forget it."""
        return self._stretches.columns()


class SpeculativeRecorder(Recorder):
    """Collects a run in which requests speculate."""

    segment_columns: ClassVar[Mapping[str, type]] = {**SEGMENT_COLUMNS, **SPECULATIVE_SEGMENT_COLUMNS}
    step_columns: ClassVar[Iterable[str]] = (*STEP_COLUMNS, *SPECULATIVE_STEP_COLUMNS)

    def __init__(
        self,
        arrival_s: Floats,
        prompt_tokens: Ints,
        output_tokens: Ints,
        instances: int,
        draws: Callable[[int], Draws] | None = None,
    ) -> None:
        super().__init__(arrival_s, prompt_tokens, output_tokens, instances)
        self._drafted = Rows(SPECULATIVE_STEP_COLUMNS)
        self._draws = draws  # what steps of requests yield; None: even acceptance
        self._yields = BytesIO()  # of each step of each segment, in order, if they are drawn

    def segments(self, instance: int, segments: Iterable[tuple[float, ...]]) -> None:
        """Note ranges of token times: of which request, its head, the first step, how many, and their pace."""
        if self._draws is not None:
            for request, _, _, steps, *_, start in segments:
                through = self._draws(int(request)).upto(int(start + steps))
                self._yields.write(np.diff(through[int(start) : int(start + steps) + 1]).astype(np.int64).tobytes())
        super().segments(instance, segments)

    def finish(self, further: Mapping[str, NDArray[Any]]) -> Record:
        """Return the record, with what each step of a segment has yielded, if that was drawn."""
        record = super().finish(further)
        if self._draws is None:
            return record
        return replace(record, step_yields=np.frombuffer(self._yields.getvalue(), np.int64))

    def stretches(self, instance: int, stretches: Sequence[Stretch]) -> None:
        """Note steps and stretches of an instance."""
        super().stretches(instance, stretches)
        self._drafted.write(b"".join([self._drafted.pack(each.drafted) for each in stretches]))

    def _stretch_columns(self) -> dict[str, NDArray[Any]]:
        return self._stretches.columns() | self._drafted.columns()


def _steps(
    stretches: dict[str, NDArray[Any]], names: Iterable[str], instances: int
) -> tuple[dict[str, NDArray[Any]], tuple[Times, ...]]:
    """Return the table of steps, by end and instance, and when each decode step of each instance ended.

    Uses up `stretches`: there are several for each request.
    """
    _add_starts_and_ends(stretches)
    by_instance = np.argsort(stretches["instance"], kind="stable")
    ends_s = _ends_by_instance(stretches, by_instance, instances)
    for name in FORMULA_COLUMNS:
        del stretches[name]
    rows = by_instance[np.argsort(stretches["end_s"][by_instance], kind="stable")]
    del by_instance
    return {name: stretches.pop(name)[rows] for name in names}, ends_s


def _add_starts_and_ends(stretches: dict[str, NDArray[Any]]) -> None:
    anchor_s, first_s, growth_s, offset = (stretches[name] for name in ("anchor_s", "first_s", "growth_s", "offset"))
    stretches["start_s"] = step_ends_s(anchor_s, first_s, growth_s, offset)
    stretches["end_s"] = step_ends_s(anchor_s, first_s, growth_s, offset + stretches["steps"])


def _ends_by_instance(
    stretches: dict[str, NDArray[Any]], by_instance: NDArray[np.intp], instances: int
) -> tuple[Times, ...]:
    decode = by_instance[stretches["decoding"][by_instance] > 0]
    rows = np.split(decode, np.searchsorted(stretches["instance"][decode], np.arange(1, instances)))
    ends = (_ends(stretches, own) for own in rows)  # made one by one: each is as large as the rows that it is of
    steps = [int(stretches["steps"][own].sum()) for own in rows]
    return spelled_out(ends, steps) if sum(steps) < LONG * len(decode) else tuple(ends)


def _ends(stretches: dict[str, NDArray[Any]], rows: NDArray[np.intp]) -> StepEnds:
    """When each step of these stretches ended, one stretch after another."""
    return StepEnds.of(*(stretches[name][rows] for name in ("anchor_s", "first_s", "growth_s", "offset", "steps")))
