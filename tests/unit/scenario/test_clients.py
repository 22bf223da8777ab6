"""[clients] and [host] of a scenario, through to the score."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.latency import hardware
from llmsim.scenario import load_scenario

FIXED = (
    "workload.requests=6",
    'workload.lengths={source="fixed",prompt_tokens=100,output_tokens=5}',
    'workload.arrivals={process="constant",rate_per_s=1000}',
)
CLOSED = 'workload.arrivals={process="closed",concurrency=2}'


def run(*changes):
    return experiment.run(load_scenario("quickstart", [*FIXED, *changes]))


def test_host_time_per_step_and_per_sequence_lengthens_every_step():
    bare = run("workload.requests=1").record
    slow = run("workload.requests=1", "host.step_s=0.25", "host.sequence_s=0.5").record

    longer = (slow.steps["end_s"] - slow.steps["start_s"]).sum() - (bare.steps["end_s"] - bare.steps["start_s"]).sum()
    assert longer == pytest.approx(5 * 0.75)


def test_response_time_delays_every_token_at_the_client_and_none_at_the_engine():
    bare, far = run(), run("host.response_s=0.5", "host.request_s=0.25")

    assert np.allclose(far.delivered.token_times_s(0), bare.delivered.token_times_s(0) + 0.75)
    assert np.allclose(far.record.timelines().token_times_s(0), bare.delivered.token_times_s(0) + 0.25)
    assert far.score["ttft_s"]["mean"] == pytest.approx(bare.score["ttft_s"]["mean"] + 0.75, abs=0.02)
    assert (far.record.requests["queued_s"] - far.record.requests["sent_s"]) == pytest.approx(0.25)


def test_latencies_from_arrival_hold_the_wait_at_the_client_and_those_from_sending_do_not():
    arrival = run("clients.max_in_flight=1")
    sent = run("clients.max_in_flight=1", "clients.measure_from=sent")

    waits_s = arrival.record.requests["sent_s"] - arrival.record.requests["arrival_s"]
    assert arrival.score["ttft_s"]["mean"] == pytest.approx(sent.score["ttft_s"]["mean"] + waits_s.mean())
    assert arrival.score["client_queueing_s"]["mean"] == pytest.approx(waits_s.mean())
    assert sent.score["client_queueing_s"] == arrival.score["client_queueing_s"]
    assert sent.score["choices"]["measured_from"] == "sent"
    assert sent.score["queueing_s"]["mean"] == 0


def test_closed_loop_keeps_its_concurrency_and_is_measured_from_sending():
    result = run(CLOSED)
    requests = result.record.requests

    assert result.score["choices"]["measured_from"] == "sent"
    assert (requests["arrival_s"] == 0).all()
    assert requests["sent_s"].tolist()[:2] == [0, 0]
    assert requests["sent_s"][2:].tolist() == requests["end_s"][:-2].tolist()  # equal lengths: in pairs
    assert result.score["ttft_s"]["mean"] < 0.1


def test_a_capped_run_read_back_scores_the_same(tmp_path):
    result = run(CLOSED, "until_s=0.1", "host.response_s=0.01")
    experiment.write(result, tmp_path)
    record = experiment.read_record(tmp_path)

    assert experiment.delivered(experiment.read_scenario(tmp_path), record).arrival_s.tolist() == (
        result.delivered.arrival_s.tolist()
    )
    assert result.score["requests"]["unfinished"] == 6 - result.score["requests"]["finished"] > 0


def test_a_host_profile_is_read_and_single_values_take_its_place(tmp_path):
    file = tmp_path / "host.toml"
    file.write_text('name = "h"\nstep_s = 0.5\nrequest_s = 1\n[provenance]\nsource = "test"\ndate = "2026-11-21"\n')
    scenario = load_scenario("quickstart", [f"host.profile={file}", "host.request_s=0.25"])
    host = experiment.make_host(scenario)

    assert (host.step_s, host.request_s, host.sequence_s) == (0.5, 0.25, 0.0)
    assert hardware.load_host(str(file)).name == "h"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("host.step_s=-1", "host.step_s"),
        ("host.eager_step_s=0.1", "belong together"),
        ("host.max_cudagraph_capture_size=256", "belong together"),
        ("host.step=1", "did you mean 'step_s'"),
        ("host.profile=vlm", "no host profile named 'vlm'"),
        ("clients.max_in_flight=0", "clients.max_in_flight"),
        ("clients.measure_from=send", "clients.measure_from"),
        ('workload.arrivals={process="closed"}', "concurrency"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(change, message):
    with pytest.raises(InputError, match=message):
        experiment.run(load_scenario("quickstart", [change]))


def test_a_cap_and_closed_clients_exclude_each_other():
    with pytest.raises(InputError, match="exclude each other"):
        load_scenario("quickstart", [CLOSED, "clients.max_in_flight=3"])
