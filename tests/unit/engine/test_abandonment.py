"""Giving up, leaving and holding back, by hand. A step takes 10 ms plus 0.1 ms per prefilled token."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.delivery import until_left
from llmsim.request import Outcome
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.token_delay import TokenDelay
from llmsim.testing import LinearSteps, serve, workload
from llmsim.workload.patience import Patience, draw_patience

STEP, TOKEN = 0.010, 0.0001
ONE_SEAT = ChunkedPrefill(max_num_seqs=1)


def patience(requests, first_s=np.inf, next_s=np.inf, delay_s=0.0):
    return Patience(np.full(requests, first_s), np.full(requests, next_s), delay_s)


def test_a_waiting_request_is_dropped_at_the_first_boundary_after_its_deadline():
    record = serve(workload((0.0, 100, 50), (0.001, 100, 5)), Abandoning(ONE_SEAT, Deadlines(ttft_s=0.1)))

    boundary_s = 0.020 + 9 * STEP  # the deadline is 0.101
    assert record.requests["outcome"].tolist() == [Outcome.FINISHED, Outcome.ABANDONED]
    assert record.requests["end_s"][1] == pytest.approx(boundary_s)
    assert record.requests["computed_tokens"].tolist() == [149, 0]


@pytest.mark.parametrize("foresee", [False, True])
def test_a_deadline_met_exactly_is_met(foresee):
    latency = LinearSteps(step_s=0.125, prefill_token_s=0.0)  # exact in binary
    deadlines = Deadlines(ttft_s=0.625)
    scheduler = Abandoning(ONE_SEAT, deadlines, foresee=latency if foresee else None)
    record = serve(workload((0.0, 4, 4), (0.0, 4, 1), (0.0, 4, 1)), scheduler, latency=latency)

    # the seat is free at 0.5: the second has its token at 0.625; the third would have it at 0.75
    assert record.requests["outcome"].tolist() == [Outcome.FINISHED, Outcome.FINISHED, Outcome.ABANDONED]
    assert record.requests["first_token_s"][1] == 0.625
    assert record.requests["end_s"][2] == 0.625


def test_a_request_that_must_miss_is_dropped_before():
    latency = LinearSteps()
    scheduler = Abandoning(ONE_SEAT, Deadlines(ttft_s=0.1), foresee=latency)
    record = serve(workload((0.0, 100, 50), (0.001, 100, 5)), scheduler, latency=latency)

    alone_s = STEP + 100 * TOKEN
    boundary_s = 0.020 + 7 * STEP  # after 0.101 - 0.020
    assert 0.101 - alone_s < boundary_s
    assert record.requests["end_s"][1] == pytest.approx(boundary_s)


def test_running_requests_are_dropped_midway_only_if_asked():
    requests = workload((0.0, 100, 50))
    dropped = serve(requests, Abandoning(ONE_SEAT, Deadlines(e2e_s=0.2)))
    served = serve(requests, Abandoning(ONE_SEAT, Deadlines(e2e_s=0.2), running=False))

    assert dropped.requests["outcome"][0] == Outcome.ABANDONED
    assert dropped.requests["emitted_tokens"][0] in (19, 20)  # the boundary at 0.2 or, if sums round up, beyond
    assert served.requests["outcome"][0] == Outcome.FINISHED


def test_a_token_behind_the_readers_line_is_late():
    scheduler = Abandoning(ChunkedPrefill(), Deadlines(tokens_per_s=10.0))
    record = serve(workload((0.0, 100, 30)), scheduler, latency=LinearSteps(step_s=0.15, prefill_token_s=0.0))

    # token i comes at 0.15 i, due at 0.1 i: the first is late, which shows at its step's end
    assert record.requests["outcome"][0] == Outcome.ABANDONED
    assert record.requests["emitted_tokens"][0] in (1, 2, 3)


def test_a_user_leaves_who_waits_too_long_for_the_first_token():
    record = serve(workload((0.0, 100, 50), (0.001, 100, 5)), ONE_SEAT, patience=patience(2, first_s=0.1))

    assert record.requests["outcome"].tolist() == [Outcome.FINISHED, Outcome.CANCELLED]
    assert record.requests["left_s"][1] == pytest.approx(0.101)
    assert record.requests["end_s"][1] == pytest.approx(0.020 + 9 * STEP)  # the server acts between steps
    assert record.requests["emitted_tokens"].tolist() == [50, 0]


def test_a_user_leaves_in_a_gap_and_tokens_after_that_are_lost():
    # the second prompt takes a step of 0.16 s, in which the first user's patience of 0.15 s ends
    latency = LinearSteps()
    record = serve(
        workload((0.0, 100, 90), (0.045, 1500, 5)), ChunkedPrefill(), latency=latency, patience=patience(2, next_s=0.15)
    )

    gap_starts_s = 0.020 + 3 * STEP  # 0.050, the last token before the long step
    step_ends_s = gap_starts_s + STEP + 1500 * TOKEN
    left_s = record.requests["left_s"]
    assert left_s[0] == pytest.approx(gap_starts_s + 0.15)
    assert np.isnan(left_s[1])
    assert record.requests["outcome"].tolist() == [Outcome.CANCELLED, Outcome.FINISHED]
    assert record.requests["end_s"][0] == pytest.approx(step_ends_s)
    assert record.requests["emitted_tokens"][0] == 5  # the long step's token came too late
    delivered = until_left(record.timelines(), left_s)
    assert len(delivered.token_times_s(0)) == 4
    assert delivered.end_s[0] == left_s[0]


def test_the_server_learns_later_that_a_user_left():
    requests, wait = workload((0.0, 100, 50), (0.001, 100, 5)), {"first_s": 0.1, "delay_s": 0.033}
    record = serve(requests, ONE_SEAT, patience=patience(2, **wait))

    assert record.requests["left_s"][1] == pytest.approx(0.101)
    assert record.requests["end_s"][1] == pytest.approx(0.020 + 12 * STEP)


def test_a_request_without_a_user_is_cancelled_not_finished():
    record = serve(workload((0.0, 1500, 2)), ChunkedPrefill(), patience=patience(1, first_s=0.1, delay_s=9.0))

    assert record.requests["outcome"][0] == Outcome.CANCELLED
    assert record.requests["emitted_tokens"][0] == 2
    assert record.requests["computed_tokens"][0] == 1501


@pytest.mark.parametrize(("distribution", "cv"), [("fixed", 0.0), ("exponential", 1.0), ("lognormal", 0.5)])
def test_patience_has_the_mean_and_variation_asked_for(distribution, cv):
    options = {"cv": cv} if distribution == "lognormal" else {}
    drawn = draw_patience(np.random.default_rng(3), 100_000, distribution=distribution, mean_s=4.0, **options)

    error = 4.0 * max(cv, 0.01) / np.sqrt(100_000)
    assert abs(drawn.mean() - 4.0) < 4 * error
    assert drawn.std() / drawn.mean() == pytest.approx(cv, abs=0.02)


def test_token_delay_keeps_its_lead_and_lets_others_go_first():
    # a step takes 10 ms for each sequence in it: alone, a sequence is ten times as fast as its reader
    latency = LinearSteps(step_s=0.0, prefill_token_s=0.0001, sequence_s=0.010)
    scheduler = TokenDelay(tokens_per_s=10.0, lead_tokens=5)
    record = serve(workload((0.0, 100, 40), (0.5, 100, 40)), scheduler, latency=latency)

    for request in (0, 1):
        times_s = record.timelines().token_times_s(request)
        read = np.floor((times_s - times_s[0]) * 10.0 + 1e-9)
        assert (np.arange(1, 41) - read <= 5 + 1 + 1e-9).all()  # never more than the lead, and the token on its way
        assert (times_s <= times_s[0] + np.arange(40) / 10.0 + 1e-9).all()  # the reader never waits
    assert record.requests["outcome"].tolist() == [Outcome.FINISHED] * 2


def test_segments_have_tokens_also_when_the_wrapper_drops_a_request_while_others_are_held():
    # whoever is held rejoins the batch when the wrapper's decision to drop comes, and is held again at once
    requests = workload(*((0.05 * i, 100, 30) for i in range(20)))
    scheduler = Abandoning(TokenDelay(tokens_per_s=4.0, lead_tokens=2), Deadlines(tokens_per_s=2.0))
    record = serve(requests, scheduler, num_gpu_blocks=40)

    assert (record.requests["outcome"] == Outcome.ABANDONED).any()
    assert ((record.segments["steps"] > 0) | ~np.isnan(record.segments["head_s"])).all()
