"""What routers see: exactly what stood at the report's time, whichever way steps were grouped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmsim.cluster.fleet import ORACLE, Reports
from llmsim.engine.exchange import Disaggregation, Link
from llmsim.router import Router
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.testing import LinearSteps, same, serve
from llmsim.workload.contract import Workload
from llmsim.workload.patience import Patience
from tests.properties.asynchronous import ASYNC, declared

BLOCKS, BLOCK_TOKENS = 40, 16
#: round numbers, so that reports, arrivals and step ends coincide; and others, so that sums round
LATENCIES = [LinearSteps(0.125, 0.0), LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-6)]


class Diary(Router):
    """Least outstanding, and writes down all that it sees."""

    def __init__(self):
        self.seen = []

    def route(self, request, fleet):
        rows = (fleet.outstanding, fleet.waiting, fleet.waiting_tokens, fleet.running, fleet.free_blocks)
        self.seen.append((fleet.now_s, [row.tolist() for row in rows]))
        return int(fleet.outstanding.argmin())


@st.composite
def workloads(draw):
    n = draw(st.integers(1, 40))
    gap_s = draw(st.sampled_from([0.0, 0.125, 0.0173, 0.4]))
    gaps = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    prompts = draw(st.lists(st.integers(1, 150), min_size=n, max_size=n))
    outputs = draw(st.lists(st.integers(1, 70), min_size=n, max_size=n))
    arrival_s = np.cumsum(np.array([0, *gaps[1:]]) * gap_s)
    return Workload(arrival_s, np.array(prompts), np.array(outputs), "hypothesis")


def served(requests, reports, stretches=True, scheduler=None, **options):
    diary = Diary()
    record = serve(
        requests,
        scheduler or ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6),
        num_gpu_blocks=BLOCKS,
        instances=3,
        router=diary,
        reports=reports,
        stretches=stretches,
        **options,
    )
    return record, diary.seen


#: a router looks in the last step of a run, which does not end within it and takes no memory
CUT_OFF = Workload(
    np.array([0.0] + [0.0519] * 27),
    np.array([1, 1, 1, 42, 1, 1, 1, 28, 1, 128, 16, 64, 1, 80, 87, 128, 23, 143, 1, 128, 14, 2, 18, 13, 1, 1, 1, 1]),
    np.array([1, 33, 37, 70, 5, 1, 16, 70, 48, 50, 70, 70, 30, 30, 33, 15, 12, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
    "by hand",
)


@example(
    CUT_OFF,
    ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6),
    LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-06),
    ORACLE,
    None,
    2,
    3.3,
    "length",
)
@settings(max_examples=60, deadline=None)
@given(
    requests=workloads(),
    scheduler=st.sampled_from([ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6), Fcfs()]),
    latency=st.sampled_from(LATENCIES),
    reports=st.sampled_from([ORACLE, Reports(0.125), Reports(0.1), Reports(0.0173, False), Reports(2.0, False)]),
    patience=st.sampled_from([None, (0.5, 0.25, 0.0), (np.inf, 0.2, 0.3)]),
    max_in_flight=st.sampled_from([None, None, 2, 7]),
    until_s=st.sampled_from([None, None, 3.3]),
    ends=ASYNC,
)
def test_routers_see_the_same_in_stretches_and_in_single_steps(
    requests, scheduler, latency, reports, patience, max_in_flight, until_s, ends
):
    if patience is not None:
        first_s, next_s, delay_s = patience
        spread = 1 + np.arange(len(requests)) % 3
        patience = Patience(first_s * spread, next_s * spread, delay_s)
    options = {"latency": latency, "patience": patience, "max_in_flight": max_in_flight, "until_s": until_s}
    options["async_scheduling"] = ends is not None
    requests = declared(requests, ends)
    stretches, single = (served(requests, reports, way, scheduler, **options) for way in (True, False))

    assert stretches[1] == single[1]
    assert same(stretches[0], single[0])


def state_before(record, requests, at_s):
    """Rebuild from the record what stood on three instances before a time: an independent book-keeping."""
    rows = record.requests
    rows_of = [rows["instance"] == number for number in range(3)]
    there = (rows["sent_s"] < at_s) & ~(rows["end_s"] < at_s)
    admitted = rows["first_scheduled_s"] < at_s
    waiting = there & ~admitted
    timelines = record.timelines()
    computed = np.zeros(len(requests), dtype=np.int64)
    for id in np.flatnonzero(there & admitted):
        emitted = int((timelines.token_times_s(id) < at_s).sum())
        computed[id] = requests.prompt_tokens[id] + max(emitted - 1, 0)  # whole prompts: held from admission on
    blocks = -(-computed // BLOCK_TOKENS)
    return [
        [int((there & own).sum()) for own in rows_of],
        [int((waiting & own).sum()) for own in rows_of],
        [int(requests.prompt_tokens[waiting & own].sum()) for own in rows_of],
        [int((there & admitted & own).sum()) for own in rows_of],
        [1000 - int(blocks[own].sum()) for own in rows_of],
    ]


@pytest.mark.parametrize(("age_s", "count_own_sends"), [(0.05, True), (0.125, False), (0.7, True), (0.7, False)])
def test_a_report_is_what_stood_before_its_time(age_s, count_own_sends):
    """Against the record of the run: requests by their times, memory by their tokens; nobody is preempted."""
    rng = np.random.default_rng(3)
    n = 100
    arrival_s = np.cumsum(rng.exponential(0.02, n)) // 2**-6 * 2**-6  # so that reports, arrivals and step ends coincide
    requests = Workload(arrival_s, rng.integers(1, 150, n), rng.integers(1, 70, n), "drawn")
    diary = Diary()
    record = serve(
        requests,
        Fcfs(max_num_seqs=7),
        latency=LinearSteps(2**-6, 0.0),
        num_gpu_blocks=1000,
        instances=3,
        router=diary,
        reports=Reports(age_s, count_own_sends),
    )
    assert record.requests["preemptions"].sum() == 0
    assert (record.requests["first_scheduled_s"] > record.requests["sent_s"]).sum() > 20  # some do wait
    moved = 0
    for id, (now_s, seen) in enumerate(diary.seen):
        report_s = max(k * age_s for k in range(int(now_s / age_s) + 2) if k * age_s <= now_s)
        expected = state_before(record, requests, report_s)
        if count_own_sends:
            since = [i for i in range(id) if record.requests["sent_s"][i] >= report_s]
            for i in since:
                number = record.requests["instance"][i]
                expected[0][number] += 1
                expected[1][number] += 1
                expected[2][number] += int(requests.prompt_tokens[i])
        assert seen == expected, f"at {now_s} s, report of {report_s} s"
        moved += expected != state_before(record, requests, now_s)
    assert moved > 50, "old news that differ from the present"


@pytest.mark.parametrize("when_full", ["wait", "fall_back"])
@pytest.mark.parametrize("reports", [ORACLE, Reports(0.125), Reports(0.05, False)])
def test_routers_of_prefill_and_of_decode_instances_see_the_same_either_way(reports, when_full):
    rng = np.random.default_rng(5)
    n = 120
    arrival_s = np.cumsum(rng.exponential(0.04, n)) // 2**-6 * 2**-6
    requests = Workload(arrival_s, rng.integers(1, 150, n), rng.integers(1, 70, n), "drawn")

    def both(stretches):
        diaries = Diary(), Diary()
        serve(
            requests,
            ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6),
            latency=LinearSteps(2**-6, 0.0, 2**-8),
            num_gpu_blocks=30,
            roles=("prefill", "decode", "prefill", "decode", "decode"),
            router=diaries[0],
            disaggregation=Disaggregation(Link(8e6), 1000, diaries[1], when_full),
            reports=reports,
            stretches=stretches,
        )
        return [diary.seen for diary in diaries]

    stretches, single = both(True), both(False)

    assert stretches == single
    assert len(stretches[1]) > 100
    assert max(max(rows[0]) for _, rows in stretches[1]) > 1


def test_a_fresh_report_with_own_sends_says_what_the_oracle_says():
    """Between two reports nobody ends: then adding one's own sends makes up for the age."""
    requests = Workload(np.arange(1, 31) * 0.01, np.full(30, 16), np.full(30, 50), "spread")
    _, oracle = served(requests, ORACLE, latency=LinearSteps(1.0, 0.0))
    _, old = served(requests, Reports(100.0), latency=LinearSteps(1.0, 0.0))

    assert [seen[0] for _, seen in old] == [seen[0] for _, seen in oracle]


def test_without_own_sends_the_news_stands_still_between_reports():
    requests = Workload(np.arange(1, 31) * 0.01, np.full(30, 16), np.full(30, 50), "spread")
    record, seen = served(requests, Reports(100.0, count_own_sends=False), latency=LinearSteps(1.0, 0.0))

    assert {str(rows) for _, rows in seen} == {str([[0] * 3, [0] * 3, [0] * 3, [0] * 3, [BLOCKS] * 3])}
    assert (record.requests["instance"] == 0).all()  # herding: all to the one that looked idle


@settings(max_examples=200)
@given(now_s=st.floats(0, 1e6), age_s=st.floats(1e-3, 1e3))
def test_the_latest_report_is_the_last_multiple_of_the_age(now_s, age_s):
    reports = Reports(age_s)

    assert reports.latest_s(now_s) <= now_s < reports.next_s(now_s)
    assert reports.next_s(now_s) - reports.latest_s(now_s) == pytest.approx(age_s, rel=1e-6)
