"""The score of a small run whose every number can be checked by eye, and the other goodputs on it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.experiment import run
from llmsim.metrics import goodput, request_latency
from llmsim.metrics.fluidity import fluid_token_rate_per_s
from llmsim.metrics.score import score
from llmsim.metrics.slo import attainment, meets
from llmsim.metrics.smooth_goodput import User, idle_latency_s
from llmsim.metrics.window import Window
from llmsim.record import Timelines
from llmsim.request import Outcome
from llmsim.scenario import load_scenario
from llmsim.slo import Slo

ARRIVAL = [0.0, 1.0, 2.0, 3.0, 4.0]
TOKENS = [[0.5, 1.0, 1.5], [1.5], [2.5, 5.5], [], []]
OUTCOMES = [Outcome.FINISHED, Outcome.FINISHED, Outcome.CANCELLED, Outcome.ABANDONED, Outcome.REJECTED]
RUN_END = 10.0


def small_run() -> Timelines:
    return Timelines.from_token_times(
        ARRIVAL,
        TOKENS,
        end_s=[1.5, 1.5, 8.0, 9.0, 4.0],
        outcome=OUTCOMES,
        output_tokens=[3, 1, 6, 4, 5],
        prompt_tokens=[10] * 5,
    )


def test_score_by_hand() -> None:
    user = User(tokens_per_s=2.0, alpha=1.0)
    found = score(
        small_run(),
        slo=Slo(ttft_s=0.5, tbt_s=0.5),
        user=user,
        first_scheduled_s=np.array([0.25, 1.25, 2.25, math.nan, math.nan]),
        end_s=RUN_END,
    ).to_dict()

    assert found["requests"] == {
        "total": 5, "finished": 2, "abandoned": 1, "cancelled": 1, "rejected": 1, "unfinished": 0
    }  # fmt: skip
    assert found["ttft_s"]["n"] == 3
    assert found["ttft_s"]["censored"] == 2
    assert found["ttft_s"]["p50"] == 0.5
    assert found["tpot_s"] | {"p90": 0, "p99": 0} == {
        "mean": (0.5 + 3.0) / 2, "p50": (0.5 + 3.0) / 2, "p90": 0, "p99": 0, "n": 2, "censored": 1
    }  # fmt: skip
    assert found["tbt_s"]["mean"] == pytest.approx((0.5 + 0.5 + 3.0) / 3)
    assert found["tbt_s"]["n"] == 3
    assert found["tbt_s"]["censored"] == 1
    assert (found["e2e_s"]["n"], found["e2e_s"]["censored"]) == (2, 3)
    assert found["queueing_s"]["n"] == 3
    span_s = 4.0 - 0.0
    assert found["output_tokens_per_s"] == (3 + 1 + 1) / span_s  # the token at 5.5 s comes after the window
    assert found["requests_per_s"] == 2 / span_s
    assert found["slo"]["attainment"] == 2 / 5
    assert found["slo"]["goodput_tokens_per_s"] == (3 + 1) / span_s
    assert found["slo"]["goodput_requests_per_s"] == 2 / span_s
    # Lateness with V = 0.5 s: on time, on time; the third waits until it leaves for token 3; the fourth and
    # fifth are dropped and charged for token 1 until the run ends.
    charges = (0, 0, 8.0 - 2.0 - 3 * 0.5, RUN_END - 3.0 - 0.5, RUN_END - 4.0 - 0.5)
    assert idle_latency_s(small_run(), user, end_s=RUN_END)[2:].tolist() == list(charges[2:])
    expected = (3 + 1 + 2 - 1.0 * sum(charges)) / span_s
    assert found["smooth_goodput_tokens_per_s"] == pytest.approx(expected)
    assert found["choices"]["window"]["kind"] == "arrivals"
    assert found["choices"]["user"]["alpha"] == 1.0


def test_score_is_plain_json() -> None:
    text = json.dumps(score(small_run(), slo=Slo(e2e_s=1.0), user=User()).to_dict(), allow_nan=False)

    assert json.loads(text)["smooth_goodput_tokens_per_s"] < 0


def test_no_requests_score_null() -> None:
    found = score(Timelines.from_token_times([], []), slo=Slo(ttft_s=1.0), user=User())

    assert found["requests"]["total"] == 0
    assert found["ttft_s"]["mean"] is None
    assert found["slo"]["attainment"] is None
    assert found["smooth_goodput_tokens_per_s"] is None


def test_window_selects_by_arrival() -> None:
    found = score(small_run(), window=Window(start_s=0.75, end_s=2.75))

    assert found["requests"]["total"] == 2
    assert found["choices"]["window"]["requests_outside"] == 3
    # Delivered in the window, to whichever request: at 1.0, 1.5, 1.5 and 2.5 s.
    assert found["output_tokens_per_s"] == (2 + 1 + 1) / 2.0
    assert found["slo"] is None


def test_one_burst_is_divided_by_the_makespan() -> None:
    burst = Timelines.from_token_times([1.0, 1.0], [[2.0, 3.0], [3.0]])
    found = score(burst).to_dict()

    assert found["choices"]["window"] | {"requests_outside": 0} == {
        "asked": "arrivals", "kind": "makespan", "start_s": 1.0, "end_s": 3.0, "duration_s": 2.0,
        "requests_outside": 0,
    }  # fmt: skip
    assert found["output_tokens_per_s"] == 3 / 2.0


def test_bounds_are_inclusive_and_one_token_has_no_gap() -> None:
    timelines = Timelines.from_token_times([0.1, 0.0], [[0.4, 0.7], [0.3]])

    assert meets(timelines, Slo(ttft_s=0.3, tbt_s=0.3, tpot_s=0.3, e2e_s=0.6)).all()
    assert not meets(timelines, Slo(ttft_s=0.2999)).any()
    assert attainment(timelines, Slo(tbt_s=0.0, tpot_s=0.0)) == 1 / 2


def test_requests_that_did_not_finish_miss() -> None:
    for outcome in set(Outcome) - {Outcome.FINISHED}:
        timelines = Timelines.from_token_times([0.0], [[0.1]], outcome=[outcome])
        assert attainment(timelines, Slo(ttft_s=1.0)) == 0.0


def test_other_goodputs() -> None:
    run = small_run()
    slo = Slo(ttft_s=0.5, tbt_s=0.5)

    assert goodput.mooncake(run, slo) == {"effective_tokens_per_s": 4 / 4.0, "wasted_tokens_per_s": 2 / 4.0}
    assert goodput.jitserve_tokens_per_s(run, slo) == (3 + 1 + 1) / 4.0
    assert goodput.aegaeon_attainment(run, slo) == (3 + 1 + 1) / (3 + 1 + 6 + 4 + 5)
    assert goodput.undelivered_use(run) == 2
    assert goodput.vtc_service_tokens(run).tolist() == [16.0, 12.0, 14.0, 0.0, 0.0]
    assert goodput.cost_per_million_tokens(1000.0, 3.6) == pytest.approx(1.0)
    scheduled = np.array([0.0, 1.0, 2.0, 5.5, math.nan])
    assert goodput.sarathi_holds(run, scheduled, tbt_s=3.0)
    assert not goodput.sarathi_holds(run, scheduled, tbt_s=2.0)
    assert not goodput.vidur_holds(run, scheduled)
    assert goodput.vidur_holds(run, np.array(ARRIVAL) + 4.9)
    assert goodput.mooncake_holds(run, unloaded_ttft_s=0.05, unloaded_tbt_s=0.6) is False  # P90 of TTFT unknown
    assert request_latency.share_with_gap_over(run, 2.9) == 1 / 5
    assert request_latency.normalised_latency_s(run)[:2].tolist() == [0.5, 0.5]


def test_distserve_counts_up_to_the_first_failure() -> None:
    rates, shares = [4.0, 1.0, 2.0, 3.0], [0.95, 1.0, 0.9, 0.5]

    assert goodput.distserve_rate_per_gpu(rates, shares, gpus=2) == 2.0 / 2
    assert goodput.distserve_rate_per_gpu([1.0], [0.1], gpus=1) is None


def test_fluid_token_rate_of_a_steady_stream() -> None:
    steady = Timelines.from_token_times([0.0], [0.05 * np.arange(1, 201)])

    # 200 tokens, index >= 0.9: D = 0.05 keeps all; a little less soon misses, then more often.
    rate = fluid_token_rate_per_s(steady, prefill_s=1.0)
    assert 1 / 0.05 <= rate < 1 / 0.04
    assert fluid_token_rate_per_s(Timelines.from_token_times([0.0], [[]]), prefill_s=1.0) == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Slo, "at least one of"),
        (lambda: Slo(ttft_s=-1.0), "slo.ttft_s: expected seconds, 0 or more"),
        (lambda: Slo(tbt_s=math.nan), "slo.tbt_s"),
        (lambda: User(tokens_per_s=0.0), "user.tokens_per_s: expected more than 0"),
        (lambda: User(penalty="qadratic"), "did you mean 'quadratic'?"),
        (lambda: User(anchor="arival"), "did you mean 'arrival'?"),
        (lambda: User(charge="until_patience"), "user.patience_s"),
        (lambda: User(index_base=2), "user.index_base: expected 0 or 1"),
        (lambda: User(alpha=-1.0), "user.alpha: expected 0 or more"),
        (lambda: Window(kind="arival"), "did you mean 'arrivals'?"),
        (lambda: Window(start_s=2.0, end_s=1.0), "window.end_s"),
        (lambda: Window(start_s=float("nan"), end_s=1.0), "window.start_s: expected seconds, got nan"),
        (lambda: score(small_run(), window=Window(start_s=100.0)), "window: no request arrives from 100 s on"),
        (lambda: score(small_run(), window=Window(end_s=-1.0)), "window: no request arrives"),
        (lambda: Window(kind="makespan", end_s=1.0), "belong to kind 'arrivals'"),
        (lambda: goodput.jitserve_tokens_per_s(small_run(), Slo(ttft_s=1.0)), "both ttft_s and tbt_s"),
    ],
)
def test_bad_choices_get_one_clear_line(make: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make()

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("fields", "tokens"), [({}, 512), ({"chat_id": 1, "parent_chat_id": -1}, 16)])
def test_hits_in_blocks_of_a_trace_are_in_those_of_its_hashes(tmp_path, fields, tokens):
    """Of two prompts of 32 blocks the second begins like the first in 8: engines find as much, in blocks of 16."""
    file = tmp_path / "trace.jsonl"
    rows = [(0, range(32)), (60_000, [*range(8), *range(40, 64)])]
    seconds = 1 if fields == {} else 1000
    lines = [
        {"timestamp": at // seconds, "input_length": 32 * tokens, "output_length": 1, "hash_ids": list(hashes)} | fields
        for at, hashes in rows
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    changes = [f"workload.trace={file}", "cluster.prefix_caching=true", "cluster.max_model_len=null"]
    hits = run(load_scenario("quickstart", changes)).score["prefix_cache"]

    assert hits["cached_tokens"] == 8 * tokens
    assert hits["trace_block_hit_ratio"] == 8 / 64
