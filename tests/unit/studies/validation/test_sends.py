"""How a file's requests are sent again: closed loops, capped rates, times that are drawn; and what is warned of."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmsim import experiment
from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.interop.format import read_measured
from llmsim.interop.measured import Load
from llmsim.metrics import request_latency
from llmsim.scenario import load_scenario
from llmsim.studies.validation.measured_run import asked_runs, read_run
from llmsim.studies.validation.sends import Assumed, drawn_sends_s, looks_closed, sends_of
from tests import result_files as files

REQUESTS = files.asked()


def file_of(folder: Path, run: dict[str, Any] | list[dict[str, Any]]) -> Path:
    file = folder / "run.json"
    file.write_text(json.dumps(run))
    return file


def test_a_cap_without_a_rate_is_a_closed_loop(tmp_path):
    run = read_run(file_of(tmp_path, files.vllm(REQUESTS, request_rate="inf", max_concurrency=4)))

    assert (run.max_in_flight, set(run.workload.arrival_s)) == (4, {0.0})
    assert run.workload.prompt_tokens.tolist() == [one.prompt for one in REQUESTS]  # in order of sending
    assert run.sent_s == pytest.approx([one.sent_s - REQUESTS[0].sent_s for one in REQUESTS])


def test_a_cap_with_a_rate_holds_back_what_was_ready(tmp_path):
    saved = files.vllm(REQUESTS, max_concurrency=4)
    queued = [0.01 * i for i in range(len(REQUESTS))]
    run = read_run(file_of(tmp_path, saved | {"queue_times": queued}))

    ready = np.sort([one.sent_s - wait for one, wait in zip(REQUESTS, queued, strict=True)])
    assert run.max_in_flight == 4
    assert run.workload.arrival_s == pytest.approx(ready - ready[0])


def test_without_send_times_all_at_once_is_known_and_a_rate_has_to_be_assumed(tmp_path):
    at_once = read_run(file_of(tmp_path, files.sglang(REQUESTS, request_rate=math.inf)))
    file = file_of(tmp_path, files.sglang(REQUESTS))

    assert set(at_once.workload.arrival_s) == {0.0}
    with pytest.raises(InputError, match="SGLang bench_serving saves no send times; --assume-sends"):
        read_run(file)
    drawn = read_run(file, assumed=Assumed(sends=True))
    assert len(set(drawn.workload.arrival_s)) == len(REQUESTS)
    assert "were drawn (Poisson, 4 requests/s)" in drawn.said


@pytest.mark.parametrize(("burstiness", "cv"), [(1.0, 1.0), (4.0, 0.5), (0.25, 2.0), (math.inf, 0.0)])
@pytest.mark.parametrize("rescaled", [True, False])
def test_send_times_are_drawn_as_the_benchmark_does_it(burstiness, cv, rescaled):
    n, rate = 20_000, 8.0
    sends_s = drawn_sends_s(Load(rate, burstiness, rescaled=rescaled), n)
    gaps_s = np.diff(sends_s)

    assert gaps_s.mean() == pytest.approx(1 / rate, rel=0.05)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(cv, abs=0.05)
    if rescaled:
        assert sends_s[-1] == pytest.approx(n / rate)
    elif cv:
        assert sends_s[-1] != pytest.approx(n / rate)


def test_a_ramp_says_nothing_of_its_rate(tmp_path):
    ramp = {"ramp_up_strategy": "linear", "ramp_up_start_rps": 1, "ramp_up_end_rps": 9}
    run = read_run(file_of(tmp_path, files.vllm(REQUESTS, request_rate="inf", **ramp)))

    assert (run.max_in_flight, run.notes) == (None, ())


def closed_loop(clients: int, n: int) -> list[dict[str, Any]]:
    """Timelines of clients that each send when they have their answer, 1 s after they sent."""
    return [
        {"arrival_s": i // clients, "token_times_s": [i // clients + 0.5, i // clients + 1.0], "prompt_tokens": 9}
        for i in range(n)
    ]


def test_what_looks_like_a_closed_loop_is_warned_of_and_can_be_one(tmp_path):
    file = file_of(tmp_path, closed_loop(5, 60))

    [warned] = read_run(file).notes
    run = read_run(file, assumed=Assumed(max_concurrency=5))

    assert warned.startswith("5 requests were under way at nearly every sending")
    assert warned.endswith("--max-concurrency 5 sends them as a closed loop")
    assert (run.max_in_flight, run.notes) == (5, ())
    open_loop = file_of(tmp_path, files.timelines(REQUESTS))
    assert read_run(open_loop).notes == ()


@pytest.mark.parametrize(
    ("arrivals", "closed"),
    [
        ('{process="closed",concurrency=12}', True),
        ('{process="poisson",rate_per_s=1.5}', False),
        ('{process="constant",rate_per_s=1.5}', False),
        ('{process="poisson",rate_per_s=5}', False),
    ],
)
def test_runs_of_clients_who_wait_and_of_clients_who_do_not(arrivals, closed):
    changes = ["workload.requests=200", f"workload.arrivals={arrivals}", "cluster.gpu=h100-sxm-80gb"]
    served = experiment.run(load_scenario("quickstart", changes)).delivered
    order = np.argsort(served.arrival_s, kind="stable")

    said = looks_closed(served.arrival_s[order], request_latency.e2e_s(served)[order])

    assert said.startswith("12 requests were under way") if closed else said == ""


def test_a_rate_of_infinity_that_took_time_is_warned_of(tmp_path):
    file = file_of(tmp_path, files.vllm(REQUESTS, request_rate="inf"))

    assert "request_rate is inf, yet requests were sent over" in sends_of(file, read_measured(file), Assumed()).warning


def test_one_host_is_fitted_to_several_runs(tmp_path, capsys):
    """Two runs of a host that is known, of very different load: both of its times are told apart."""
    saved = []
    for rate in (1, 6):
        changes = ["workload.requests=150", f"workload.arrivals.rate_per_s={rate}", "host.step_s=0.004"]
        changes += ["host.sequence_s=0.0003", "cluster.gpu=h100-sxm-80gb"]
        file = tmp_path / f"{rate}.json"
        sets = [part for change in changes for part in ("--set", change)]
        assert main(["run", "quickstart", *sets, "--json", "--save-as", f"vllm_bench={file}"]) == 0
        saved.append(json.loads(file.read_text()))
    both, out = file_of(tmp_path, saved), tmp_path / "host.toml"
    capsys.readouterr()

    gpu = ("--set", "cluster.gpu=h100-sxm-80gb")
    fit = ["profile", "from-bench", str(both), "--scenario", "quickstart", *gpu, "--out", str(out), "--json"]
    assert main(fit) == 2
    assert "--run 1 to --run 2, or --run all" in capsys.readouterr().err
    assert main([*fit, "--run", "all"]) == 0
    host = json.loads(capsys.readouterr().out)["host"]

    assert host["step_s"] == pytest.approx(0.004, rel=0.1)
    assert host["sequence_s"] == pytest.approx(0.0003, rel=0.1)
    assert len(asked_runs(both, several=True)) == 2
