"""A run's trace for Perfetto, read back with Perfetto's own classes: tracks, nesting, counters, arrows."""

from __future__ import annotations

import builtins
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from llmsim.cli import main

proto = pytest.importorskip(
    "perfetto.protos.perfetto.trace.perfetto_trace_pb2", reason="the extra perfetto is not installed"
)

SCENARIOS = {
    "quickstart": ["workload.requests=120", "workload.arrivals.rate_per_s=4"],
    # little memory: preemptions; two instances
    "preempted": ["workload.requests=80", "workload.arrivals.rate_per_s=6", "cluster.num_gpu_blocks=700",
                  "cluster.instances=2"],
    "disaggregated": ["workload.requests=60"],
    "left": ["workload.requests=80", "workload.arrivals.rate_per_s=9", "patience.next_token={mean_s=0.5}",
             "patience.first_token={mean_s=0.5}"],
}  # fmt: skip


class Read:
    """The trace, taken apart: tracks by number, slices of each, counters of each."""

    def __init__(self, file: Path) -> None:
        trace = proto.Trace()
        trace.ParseFromString(file.read_bytes())
        self.tracks: dict[int, Any] = {}
        self.slices: dict[int, list[tuple[str, int, int, int]]] = defaultdict(list)  # name, start, end, depth
        self.counters: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self.flows: dict[int, list[tuple[str, int, int]]] = defaultdict(list)  # which end, track, time
        self.times = []
        opened: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for packet in trace.packet:
            assert packet.trusted_packet_sequence_id == 1
            if packet.HasField("track_descriptor"):
                assert packet.track_descriptor.uuid not in self.tracks
                self.tracks[packet.track_descriptor.uuid] = packet.track_descriptor
                continue
            event, time = packet.track_event, packet.timestamp
            assert event.track_uuid in self.tracks
            self.times.append(time)
            if event.type == proto.TrackEvent.TYPE_COUNTER:
                self.counters[event.track_uuid].append((time, event.counter_value))
            elif event.type == proto.TrackEvent.TYPE_SLICE_BEGIN:
                opened[event.track_uuid].append((event.name, time))
                for flow in event.flow_ids:
                    self.flows[flow].append(("from", event.track_uuid, time))
                for flow in event.terminating_flow_ids:
                    self.flows[flow].append(("to", event.track_uuid, time))
            else:
                name, start = opened[event.track_uuid].pop()
                self.slices[event.track_uuid].append((name, start, time, len(opened[event.track_uuid])))
        assert not any(opened.values())

    def instance(self, track: int) -> int:
        """Number of the instance that a track is of."""
        return self.tracks[self.tracks[track].parent_uuid].process.pid - 1


@pytest.fixture(scope="module", params=list(SCENARIOS))
def written(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    scenario = "quickstart" if request.param in ("preempted", "left") else request.param
    sets = [part for change in SCENARIOS[request.param] for part in ("--set", change)]
    file = folder / "run.pftrace"
    assert main(["run", scenario, *sets, "--out", str(folder / "out"), "--perfetto", str(file), "--json"]) == 0
    return request.param, folder / "out", Read(file)


def test_slices_nest_and_no_two_requests_share_a_seat(written):
    _, _, read = written

    assert read.times == sorted(read.times)
    for slices in read.slices.values():
        stays = sorted((start, end) for name, start, end, depth in slices if depth == 0)
        assert all(end <= start for (_, end), (start, _) in pairwise(stays))
        for name, start, end, depth in slices:
            assert start <= end
            assert depth <= 1
            assert name.startswith("request ") if depth == 0 else name in ("prefill", "decode")
            assert depth == 0 or any(s <= start and end <= e for s, e in stays)


def test_every_request_that_was_worked_on_is_there(written):
    _, out, read = written
    requests = pd.read_parquet(out / "requests.parquet")
    worked = set(np.flatnonzero(requests["first_scheduled_s"].notna()).tolist())
    stays = [
        (int(name[8:]), start, end)
        for slices in read.slices.values()
        for name, start, end, depth in slices
        if depth == 0
    ]

    assert {request for request, _, _ in stays} == worked
    for request in worked:
        row = requests.iloc[request]
        mine = [(start, end) for number, start, end in stays if number == request]
        assert min(start for start, _ in mine) == round(1e9 * row["first_scheduled_s"])
        if row["outcome"] == "finished":
            assert max(end for _, end in mine) == round(1e9 * row["end_s"])


def test_counters_equal_the_steps(written):
    _, out, read = written
    steps = pd.read_parquet(out / "steps.parquet")
    columns = {
        "running": ("start_s", steps["running"]),
        "waiting": ("end_s", steps["waiting"]),
        "KV blocks used": ("start_s", steps["kv_blocks_used"]),
        "batch tokens": ("start_s", steps["prefill_tokens"] + steps["decoding"]),
    }
    seen = set()
    for track, values in read.counters.items():
        when, column = columns[read.tracks[track].name]
        mine = steps["instance"] == read.instance(track)
        expected = sorted(zip((1e9 * steps[when][mine]).round().astype(int), column[mine], strict=True))
        assert sorted(values) == expected
        seen.add((read.instance(track), read.tracks[track].name))

    assert seen == {(instance, name) for instance in set(steps["instance"]) for name in columns}


def test_arrows_lead_from_prefill_to_decoding(written):
    name, out, read = written
    if name != "disaggregated":
        assert not read.flows
        return
    transfers = pd.read_parquet(out / "transfers.parquet")
    joined = transfers[transfers["joined_s"].notna()]

    assert {flow - 1 for flow in read.flows} == set(joined["request"])
    for row in joined.itertuples():
        ends = {kind: (read.instance(track), time) for kind, track, time in read.flows[row.request + 1]}
        assert ends["from"][0] == row.source
        assert ends["to"] == (row.target, round(1e9 * row.joined_s))
        assert ends["from"][1] < ends["to"][1]


def test_preemptions_make_stays(written):
    name, out, read = written
    if name != "preempted":
        return
    preempted = pd.read_parquet(out / "requests.parquet")["preemptions"]

    stays = sum(depth == 0 for slices in read.slices.values() for _, _, _, depth in slices)
    assert preempted.sum() > 0
    assert len(preempted) < stays <= len(preempted) + preempted.sum()


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("perfetto"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)

    assert main(["run", "quickstart", "--perfetto", str(tmp_path / "x.pftrace")]) == 2
    assert "pip install llmsim[perfetto]" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
