"""A run as a trace for Perfetto's viewer (ui.perfetto.dev): instances as processes, seats as tracks, load as counters.

A seat holds one request at a time: a slice for each stay, with its prefill and its decoding in it. After a preemption a
request stays again, from its next token on: when it was taken up again the record does not say. Arrows lead from a
prefill to the decoding of the same request on another instance. Written as TrackEvents with the classes of the
`perfetto` package (extra `perfetto`); https://perfetto.dev/docs/reference/synthetic-track-event
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsim.errors import InputError
from llmsim.request import Outcome

if TYPE_CHECKING:
    from llmsim.experiment import Result
    from llmsim.record import Record

SEQUENCE = 1  #: all packets are of one writer
#: counter -> its columns of the steps, whether it is that of a row's end, and its unit
COUNTERS = {
    "running": (("running",), False, "requests"),
    "waiting": (("waiting",), True, "requests"),
    "KV blocks used": (("kv_blocks_used",), False, "blocks"),
    "batch tokens": (("prefill_tokens", "decoding"), False, "tokens"),
}


@dataclass(frozen=True, slots=True)
class Stay:
    """A request in a seat of an instance, in seconds."""

    request: int
    instance: int
    start_s: float
    end_s: float
    parts: tuple[tuple[str, float, float], ...]  #: name, start, end: in order, within the stay
    handed_over: bool = False  #: to another instance, when it ends
    taken_over: bool = False  #: from another instance, when it begins


def stays(record: Record) -> list[Stay]:
    """Every stay of every request: to its first segment of tokens from when it was scheduled, then one a segment."""
    requests, handovers, spans = record.requests, _handovers(record), _token_spans(record)
    out: list[Stay] = []
    for i in np.flatnonzero(~np.isnan(requests["first_scheduled_s"])).tolist():
        begin_s, mine = float(requests["first_scheduled_s"][i]), spans.get(i, [])
        given = handovers.get(i)
        if not mine:
            end_s = max(float(requests["end_s"][i]), begin_s)
            out.append(Stay(i, int(requests["instance"][i]), begin_s, end_s, (("prefill", begin_s, end_s),)))
            continue
        instance, first_s, last_s = mine[0]
        parts = [("prefill", begin_s, first_s), *([("decode", first_s, last_s)] if last_s > first_s else [])]
        out.append(Stay(i, instance, begin_s, last_s, tuple(parts), handed_over=given is not None))
        for k, (instance, next_s, last_s) in enumerate(mine[1:]):
            taken = given if k == 0 and given is not None and given.target == instance else None
            start_s = next_s if taken is None else taken.joined_s
            parts = [("decode", start_s, last_s)]
            out.append(Stay(i, instance, start_s, last_s, tuple(parts), taken_over=taken is not None))
    return out


@dataclass(frozen=True, slots=True)
class _Handover:
    target: int
    joined_s: float


def _handovers(record: Record) -> dict[int, _Handover]:
    """Of requests that decoded elsewhere than their prompt was computed: where, and from when."""
    table = record.transfers
    rows = zip(*(table[name].tolist() for name in ("request", "target", "joined_s")), strict=True)
    return {request: _Handover(target, joined_s) for request, target, joined_s in rows if not math.isnan(joined_s)}


def _token_spans(record: Record) -> dict[int, list[tuple[int, float, float]]]:
    """(instance, first, last token) of each segment of each request that has tokens, in order of time."""
    found: dict[int, list[tuple[int, float, float]]] = {}
    columns = (record.segments[name].tolist() for name in ("request", "instance", "head_s", "first_step", "steps"))
    for request, instance, head_s, first, steps in zip(*columns, strict=True):
        ends_s = record.step_ends_s[instance]
        edges = [] if np.isnan(head_s) else [head_s]
        edges += [float(ends_s[first]), float(ends_s[first + steps - 1])] if steps else []
        if edges:
            found.setdefault(request, []).append((instance, edges[0], edges[-1]))
    return {request: sorted(spans, key=lambda span: span[1]) for request, spans in found.items()}


def seats(of_instance: Sequence[Stay]) -> list[list[Stay]]:
    """Put stays on as few tracks as hold them without overlap: each takes the lowest seat that is free."""
    tracks: list[list[Stay]] = []
    free: list[int] = []
    taken: list[tuple[float, int]] = []
    for stay in sorted(of_instance, key=lambda one: (one.start_s, one.end_s, one.request)):
        while taken and taken[0][0] <= stay.start_s:
            heapq.heappush(free, heapq.heappop(taken)[1])
        seat = heapq.heappop(free) if free else len(tracks)
        if seat == len(tracks):
            tracks.append([])
        tracks[seat].append(stay)
        heapq.heappush(taken, (stay.end_s, seat))
    return tracks


@dataclass
class _Trace:
    """Packets under construction: descriptions of tracks first, then the events of all tracks by time."""

    proto: Any
    described: list[Any] = field(default_factory=list)
    tracks: list[list[Any]] = field(default_factory=list)

    def track(self, name: str, parent: int | None = None, *, pid: int | None = None, unit: str | None = None) -> int:
        """Describe a track, and return its number."""
        packet = self.proto.TracePacket(trusted_packet_sequence_id=SEQUENCE)
        track = packet.track_descriptor
        track.uuid = len(self.described) + 1
        if parent is not None:
            track.parent_uuid = parent
        if pid is not None:
            track.process.pid, track.process.process_name = pid, name
        else:
            track.name = name
        if unit is not None:
            track.counter.unit_name = unit
        self.described.append(packet)
        return int(track.uuid)

    def event(self, track: int, time_s: float, kind: str) -> Any:
        """A packet with an event of this kind at this time, to be filled."""
        packet = self.proto.TracePacket(trusted_packet_sequence_id=SEQUENCE, timestamp=round(1e9 * time_s))
        packet.track_event.track_uuid = track
        packet.track_event.type = getattr(self.proto.TrackEvent, f"TYPE_{kind}")
        return packet

    def packets(self) -> Iterator[Any]:
        """All packets; a track's events keep their order, which is that of time."""
        yield from self.described
        yield from heapq.merge(*self.tracks, key=lambda packet: packet.timestamp)


#: of a trace: the tag of its first packet
BEGINS = b"\n"


def write(result: Result, file: Path) -> None:
    """Write the trace of a run. InputError without the `perfetto` package."""
    record = result.record
    trace = _Trace(_classes())
    by_instance: list[list[Stay]] = [[] for _ in record.step_ends_s]
    for stay in stays(record):
        by_instance[stay.instance].append(stay)
    for instance, mine in enumerate(by_instance):
        process = trace.track(f"instance {instance}", pid=instance + 1)
        _add_counters(trace, process, record, instance)
        for seat, track in enumerate(seats(mine)):
            trace.tracks.append(list(_slices(trace, trace.track(f"seat {seat}", process), track, record)))
    whole = trace.proto.Trace()
    with file.open("wb") as out:
        for packet in trace.packets():
            whole.packet.append(packet)
            out.write(whole.SerializeToString())
            whole.Clear()


def _classes() -> Any:
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError:
        raise InputError("--perfetto needs the perfetto package: pip install llmsim[perfetto]") from None
    return perfetto_trace_pb2


def check_available() -> None:
    """Refuse before any work is done where the `perfetto` package is not there."""
    _classes()


def _add_counters(trace: _Trace, process: int, record: Record, instance: int) -> None:
    rows = np.flatnonzero(record.steps["instance"] == instance)
    rows = rows[np.argsort(record.steps["start_s"][rows], kind="stable")]
    for name, (columns, at_end, unit) in COUNTERS.items():
        track = trace.track(name, process, unit=unit)
        times_s = record.steps["end_s" if at_end else "start_s"][rows].tolist()
        values = sum(record.steps[column][rows] for column in columns)
        packets = []
        for time_s, value in zip(times_s, np.asarray(values).tolist(), strict=True):
            packet = trace.event(track, time_s, "COUNTER")
            packet.track_event.counter_value = value
            packets.append(packet)
        trace.tracks.append(packets)


def _slices(trace: _Trace, track: int, on_track: Sequence[Stay], record: Record) -> Iterator[Any]:
    """Begin and end of each stay, and of its parts between them."""
    for stay in on_track:
        whole = trace.event(track, stay.start_s, "SLICE_BEGIN")
        whole.track_event.name = f"request {stay.request}"
        _tell(whole, record, stay.request)
        if stay.handed_over:
            whole.track_event.flow_ids.append(stay.request + 1)
        if stay.taken_over:
            whole.track_event.terminating_flow_ids.append(stay.request + 1)
        yield whole
        for name, start_s, end_s in stay.parts:
            part = trace.event(track, start_s, "SLICE_BEGIN")
            part.track_event.name = name
            yield part
            yield trace.event(track, end_s, "SLICE_END")
        yield trace.event(track, stay.end_s, "SLICE_END")


def _tell(packet: Any, record: Record, request: int) -> None:
    """What the viewer shows beside a request."""
    columns = record.requests
    for name in ("prompt_tokens", "output_tokens", "cached_tokens"):
        packet.track_event.debug_annotations.add(name=name, int_value=int(columns[name][request]))
    outcome = Outcome(int(columns["outcome"][request])).name.lower()
    packet.track_event.debug_annotations.add(name="outcome", string_value=outcome)
