"""Prefill here, decode there: by hand, and as scenarios ask for it."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim import experiment
from llmsim.engine.exchange import Disaggregation, Link
from llmsim.errors import InputError
from llmsim.reports.tables.run_tables import show_run
from llmsim.routers.round_robin import RoundRobin
from llmsim.scenario import load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, serve, workload

STEP = LinearSteps(1.0, 0.0)  # every step takes a second


def served(*requests, link, blocks=100, when_full="wait", seats=256):
    return serve(
        workload(*requests),
        ChunkedPrefill(max_num_seqs=seats),
        latency=STEP,
        num_gpu_blocks=blocks,
        roles=("prefill", "decode"),
        disaggregation=Disaggregation(link, 10, RoundRobin(), when_full),
    )


def test_one_request_by_hand():
    # prefill 0-1 s; 32 tokens of 10 bytes at 100 bytes/s: 3.2 s, and 0.3 s on the way; two more tokens, a second each
    record = served((0.0, 32, 3), link=Link(100.0, 0.3))
    moved = {name: column.tolist() for name, column in record.transfers.items()}

    assert moved["offered_s"] == moved["start_s"] == [1.0]
    assert moved["end_s"] == pytest.approx([4.5])
    assert moved["joined_s"] == pytest.approx([4.5])  # the decode instance is idle: no boundary to wait for
    assert (moved["tokens"], moved["bytes"]) == ([32], [320])
    assert record.timelines().token_times_s(0).tolist() == pytest.approx([1.0, 5.5, 6.5])
    assert record.requests["instance"].tolist() == [1]


def test_the_link_sends_one_at_a_time():
    # both are computed in one step; the second transfer starts when the first has left the sender
    record = served((0.0, 32, 2), (0.0, 16, 2), link=Link(100.0, 0.3))

    assert record.transfers["start_s"].tolist() == pytest.approx([1.0, 4.2])
    assert record.transfers["end_s"].tolist() == pytest.approx([4.5, 6.1])
    # the second lands at 6.1 s, when the first, there from 4.5 to 5.5 s, is gone
    assert record.requests["end_s"].tolist() == pytest.approx([5.5, 7.1])


def test_layers_that_were_sent_while_others_were_computed_take_no_time():
    # 3.2 s of sending, of which a second's prefill hides one; a quarter of it, the last layer, at least
    assert Link(100.0, 0.0, overlapped_layers=4).transfer_s(320, prefill_s=1.0) == pytest.approx(2.2)
    assert Link(100.0, 0.0, overlapped_layers=4).transfer_s(320, prefill_s=9.0) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("when_full", "decoded_on", "ends_s"),
    [
        # 4 blocks hold one of the two, which grow to 3, at a time. The first decodes from 1 + 0.32 s on, for 6 steps
        ("wait", [1, 1], [7.32, 13.64]),  # the second is read at 7.32 s
        # the second stays where its prompt is, but until the first has been read there is no memory for its next
        # token: it is preempted at once, computed again from 1.32 s on, and has five more tokens to go then
        ("fall_back", [1, 0], [7.32, 7.32]),
        ("recompute", [1, 1], [7.32, 13.32]),  # the second is computed again from 7.32 s on
    ],
)
def test_a_full_decode_side_by_hand(when_full, decoded_on, ends_s):
    record = serve(
        workload((0.0, 32, 7), (0.0, 32, 7)),
        ChunkedPrefill(max_num_seqs=256),
        latency=STEP,
        num_gpu_blocks=4,
        roles=("prefill", "decode"),
        disaggregation=Disaggregation(Link(1000.0), 10, RoundRobin(), when_full),
    )

    assert record.requests["instance"].tolist() == decoded_on
    assert record.requests["end_s"].tolist() == pytest.approx(ends_s)


def test_a_seat_is_needed_too():
    record = served((0.0, 16, 4), (0.0, 16, 4), link=Link(1e6), seats=1)

    assert record.transfers["start_s"][1] >= record.requests["end_s"][0]


def test_the_shipped_scenario_tells_its_stages():
    result = experiment.run(load_scenario("disaggregated", ["workload.requests=200"]))
    stages = result.score["stages"]
    requests = result.record.requests
    parts = ("prefill_queue_s", "prefill_s", "memory_wait_s", "transfer_s", "decode_queue_s", "decode_s")

    assert stages["joined"] == stages["handed_over"] == 200
    assert sum(stages[part]["mean"] for part in parts) == pytest.approx(
        float(np.mean(requests["end_s"] - requests["arrival_s"]))
    )
    assert stages["bytes"] == 131072 * requests["prompt_tokens"].sum()  # 2 x 32 layers x 8 heads x 128 x 2 bytes


def test_a_record_with_transfers_is_read_back(tmp_path):
    result = experiment.run(load_scenario("disaggregated", ["workload.requests=20"]))
    experiment.write(result, tmp_path)
    back = experiment.read_record(tmp_path)

    for name, column in result.record.transfers.items():
        assert np.array_equal(back.transfers[name], column), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["pool.0.role=mixed"], "no pool has role = 'prefill'; prefill and decode pools need each other"),
        (["kv_transfer=null"], "pools for prefill and decode need [kv_transfer] with bandwidth_gb_per_s"),
        (["pool.0.role=mixed", "pool.1.role=mixed"], "kv_transfer is for pools with role = 'prefill' and 'decode'"),
        (["kv_transfer.router=round_robbin"], "kv_transfer.router: unknown router 'round_robbin'; did you mean"),
        (["kv_transfer.bandwidth_gb_per_s=0"], "kv_transfer.bandwidth_gb_per_s: "),
        (["kv_transfer.bandwith=1"], "kv_transfer.bandwith: unknown key; did you mean 'bandwidth_gb_per_s'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(changes, message):
    with pytest.raises(InputError) as refused:
        experiment.run(load_scenario("disaggregated", changes))

    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_table_says_of_both_pools_what_they_had_and_names_the_wait_for_the_link(capsys):
    result = experiment.run(load_scenario("disaggregated", ["workload.requests=200"]))
    show_run(result, None)
    printed = " ".join(capsys.readouterr().out.split())

    pools = result.score["pools"]
    assert {name: (pool["requests"], pool["finished"]) for name, pool in pools.items()} == {
        "prefill": (200, 0),
        "decode": (200, 200),
    }
    assert "wait for memory and link" in printed


@pytest.mark.parametrize("async_scheduling", [False, True])
def test_what_never_fits_where_it_is_to_decode_is_decoded_where_it_was_computed(async_scheduling: bool) -> None:
    changes = [
        "workload.requests=20",
        "workload.lengths={source='fixed', prompt_tokens=400, output_tokens=20}",
        "pool.1.num_gpu_blocks=10",  # 160 tokens: no prompt fits
        f"scheduler.async_scheduling={str(async_scheduling).lower()}",
    ]
    rejected = experiment.run(load_scenario("disaggregated", changes))
    served = [
        experiment.run(load_scenario("disaggregated", [*changes, "kv_transfer.when_full=fall_back"]), stepwise=stepwise)
        for stepwise in (False, True)
    ]

    assert rejected.score["requests.rejected"] == 20
    assert served[0].score["requests.finished"] == 20
    assert served[0].record.requests["instance"].tolist() == [0] * 20
    assert np.isnan(served[0].record.transfers["joined_s"]).all()
    without_clock = [{**run.score.to_dict(), "wall_s": 0} for run in served]
    assert without_clock[0] == without_clock[1]
