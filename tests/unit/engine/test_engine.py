"""The step rules of ENGINES.md, by hand. A step takes 10 ms plus 0.1 ms per prefilled token."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.errors import PolicyError
from llmsim.request import Outcome
from llmsim.scheduler import Decision, Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.schedulers.static import Static
from llmsim.testing import LinearSteps, PurityChecker, serve, workload

STEP, TOKEN = 0.010, 0.0001


def tokens_s(record, request):
    return record.timelines().token_times_s(request)


@pytest.mark.parametrize("scheduler", [ChunkedPrefill(), Fcfs(), Static()])
def test_one_request(scheduler):
    record = serve(workload((1.0, 40, 3)), scheduler)

    first = 1.0 + STEP + 40 * TOKEN
    assert tokens_s(record, 0) == pytest.approx([first, first + STEP, first + 2 * STEP])
    assert record.requests["first_scheduled_s"][0] == 1.0
    assert record.requests["outcome"][0] == Outcome.FINISHED
    assert record.end_s == tokens_s(record, 0)[-1]


def test_one_token_is_the_prefill():
    record = serve(workload((0.0, 16, 1)), ChunkedPrefill())

    assert tokens_s(record, 0) == pytest.approx([STEP + 16 * TOKEN])


def test_three_requests_chunked_prefill_mixes_prefill_and_decode():
    record = serve(workload((0.0, 100, 3), (0.005, 100, 2), (0.025, 50, 2)), ChunkedPrefill())

    a = STEP + 100 * TOKEN  # prefill of 0: ends at 20 ms; 1 has arrived, 2 has not
    b = a + STEP + 100 * TOKEN  # decode of 0 with the prefill of 1: ends at 40 ms; 2 has arrived
    c = b + STEP + 50 * TOKEN  # last decodes of 0 and 1 with the prefill of 2
    d = c + STEP  # last decode of 2
    assert tokens_s(record, 0) == pytest.approx([a, b, c])
    assert tokens_s(record, 1) == pytest.approx([b, c])
    assert tokens_s(record, 2) == pytest.approx([c, d])


def test_three_requests_fcfs_stalls_decodes_while_it_prefills():
    record = serve(workload((0.0, 100, 3), (0.005, 100, 2), (0.025, 50, 2)), Fcfs())

    a = STEP + 100 * TOKEN  # prefill of 0
    b = a + STEP + 100 * TOKEN  # prefill of 1 alone: 0 stands still
    c = b + STEP + 50 * TOKEN  # prefill of 2 alone: 0 and 1 stand still
    d = c + STEP  # all decode; 1 and 2 are done
    e = d + STEP
    assert tokens_s(record, 0) == pytest.approx([a, d, e])
    assert tokens_s(record, 1) == pytest.approx([b, d])
    assert tokens_s(record, 2) == pytest.approx([c, d])


def test_three_requests_static_lets_none_join():
    record = serve(workload((0.0, 100, 3), (0.005, 100, 2), (0.025, 50, 2)), Static())

    a = STEP + 100 * TOKEN
    done = a + 2 * STEP  # 1 and 2 wait until 0 is done
    b = done + STEP + 150 * TOKEN  # both prompts in one step
    assert tokens_s(record, 0) == pytest.approx([a, a + STEP, done])
    assert tokens_s(record, 1) == pytest.approx([b, b + STEP])
    assert tokens_s(record, 2) == pytest.approx([b, b + STEP])


def test_chunks_share_the_budget_with_decodes():
    checker = PurityChecker(ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=8))
    serve(workload((0.0, 64, 9), (0.001, 100, 2), (0.002, 10, 2)), checker)

    assert [dict(decision.prefill) for _, decision in checker.decisions[:4]] == [
        {0: 64},
        {1: 63},  # 0 decodes: 64 - 1 tokens are left
        {1: 37, 2: 10},  # the open prompt first, then the queue: 64 - 1 - 37 = 26 would do for 2
        {},
    ]


def test_a_prompt_that_does_not_fit_blocks_those_behind_it():
    # 10 blocks: 0 holds 5 and grows into a 6th; 1 needs 6; 2 would fit, but is behind 1
    record = serve(workload((0.0, 80, 4), (0.001, 96, 1), (0.002, 16, 1)), ChunkedPrefill(), num_gpu_blocks=10)

    end_of_0 = tokens_s(record, 0)[-1]
    assert record.requests["first_scheduled_s"][1:] == pytest.approx([end_of_0, end_of_0])


def test_seats_are_limited():
    record = serve(workload(*[(0.0, 16, 5)] * 3), ChunkedPrefill(max_num_seqs=2))

    assert record.requests["first_scheduled_s"][2] == record.requests["end_s"][0]


@pytest.mark.parametrize("scheduler", [ChunkedPrefill(), Fcfs(watermark=0.0)])
def test_preemption_by_hand(scheduler):
    # 5 blocks of 16. Both prompts take 2. The 2nd token needs a 3rd block each: one is left, so the later one goes.
    record = serve(workload((0.0, 32, 3), (0.0, 32, 3)), scheduler, num_gpu_blocks=5)

    a = STEP + 64 * TOKEN  # both prefill in one step: 4 blocks, 1 free
    b, c = a + STEP, a + 2 * STEP  # 0 decodes alone; 1 waits: its 33 tokens need 3 blocks, 2 are free
    d = c + STEP + 33 * TOKEN  # 0 is done: 1 computes its prompt and its first token again, which yields its second
    assert tokens_s(record, 0) == pytest.approx([a, b, c])
    assert tokens_s(record, 1) == pytest.approx([a, d, d + STEP])
    assert record.requests["preemptions"].tolist() == [0, 1]
    assert record.requests["recomputed_tokens"].tolist() == [0, 32]  # the first token had not been computed on yet


def test_no_request_is_admitted_in_a_step_that_preempts():
    # 0 and 1 as above; 2 is tiny and would fit in the memory that 1 gives back, but V1 does not look at the queue
    checker = PurityChecker(ChunkedPrefill())
    serve(workload((0.0, 32, 3), (0.0, 32, 3), (0.015, 16, 1)), checker, num_gpu_blocks=5)

    preempting = [decision for _, decision in checker.decisions if decision.preempt]
    assert [(decision.preempt, dict(decision.prefill)) for decision in preempting] == [((1,), {})]


def test_preempted_requests_go_to_the_head_of_the_queue():
    record = serve(workload((0.0, 32, 3), (0.0, 32, 3), (0.015, 48, 1)), ChunkedPrefill(), num_gpu_blocks=5)

    assert record.requests["preemptions"].tolist() == [0, 1, 0]
    assert record.requests["first_scheduled_s"][2] == record.requests["end_s"][1]


@pytest.mark.parametrize("scheduler", [ChunkedPrefill(watermark=0.1), Fcfs(watermark=0.1)])
def test_a_preempted_request_that_outgrew_the_watermark_comes_back_alone(scheduler):
    # 20 blocks, 2 of them reserve. 1 is admitted with 17 and goes when it needs the 19th: 19 + 2 are never free again
    record = serve(workload((0.0, 1, 30), (0.0, 272, 40)), scheduler, num_gpu_blocks=20)

    assert record.requests["preemptions"].tolist() == [0, 1]
    assert record.requests["outcome"].tolist() == [Outcome.FINISHED, Outcome.FINISHED]


def test_a_preempted_request_that_outgrew_the_budget_takes_a_step_of_its_own():
    # 6 blocks: 1 goes when both need a 4th, with 32 + 17 tokens to compute again, more than the budget of a step
    checker = PurityChecker(Fcfs(max_num_batched_tokens=40, watermark=0.0))
    record = serve(workload((0.0, 32, 30), (0.0, 32, 30)), checker, num_gpu_blocks=6)

    assert record.requests["preemptions"].tolist() == [0, 1]
    assert {1: 49} in [decision.prefill for _, decision in checker.decisions]
    assert record.requests["outcome"].tolist() == [Outcome.FINISHED, Outcome.FINISHED]


def test_prompt_that_can_never_fit_is_rejected_with_its_reason():
    record = serve(workload((0.0, 200, 1), (0.0, 16, 1)), ChunkedPrefill(), num_gpu_blocks=10)

    assert record.requests["outcome"].tolist() == [Outcome.REJECTED, Outcome.FINISHED]
    assert record.reasons[record.requests["reason"][0]] == "needs 13 KV blocks, the instance has 10"


def test_request_longer_than_the_model_is_rejected():
    record = serve(workload((0.0, 60, 41)), Fcfs(), max_model_len=100)

    assert record.reasons[record.requests["reason"][0]] == "prompt and output are 101 tokens, max_model_len is 100"


def test_the_end_of_the_run_leaves_requests_unfinished():
    record = serve(workload((0.0, 100, 5), (0.0, 100, 100), (9.0, 1, 1)), ChunkedPrefill(), until_s=0.205)

    assert record.requests["outcome"].tolist() == [Outcome.FINISHED, Outcome.UNFINISHED]  # the third never arrived
    steps = int((0.205 - 0.030) / STEP)
    assert record.requests["emitted_tokens"].tolist() == [5, 1 + steps]
    assert record.requests["end_s"][1] == 0.205


@pytest.mark.parametrize("until_s", [0.040, 100.0])
def test_a_run_that_is_over_before_its_end_ends_with_its_last_request(until_s):
    record = serve(workload((0.0, 100, 3)), ChunkedPrefill(), until_s=until_s)

    assert record.requests["outcome"][0] == Outcome.FINISHED
    assert record.end_s == pytest.approx(0.040)


def test_stretches_end_early_for_an_arrival():
    record = serve(workload((0.0, 100, 50), (0.1234, 10, 1)), ChunkedPrefill())

    boundary = 0.020 + 11 * STEP  # the first step boundary after 0.1234
    assert record.requests["first_scheduled_s"][1] == pytest.approx(boundary)
    assert len(record.steps["steps"]) == 4  # prefill, stretch, mixed step, stretch


def test_arrival_exactly_at_a_boundary_joins_the_next_step():
    latency = LinearSteps(step_s=0.25, prefill_token_s=0.0)  # exact in binary
    record = serve(workload((0.0, 4, 9), (1.0, 4, 1)), ChunkedPrefill(), latency=latency)

    assert record.requests["first_scheduled_s"][1] == 1.0


class Wrong(Scheduler):
    def __init__(self, decision):
        self.decision = decision

    def schedule(self, view):
        return self.decision


@pytest.mark.parametrize(
    ("decision", "message"),
    [
        (Decision({0: 33}), "Wrong at t=1.000000 s: request 0 got 33 tokens to prefill, but has 32 to compute"),
        (Decision({0: 0}), "request 0 got 0 tokens to prefill, but has 32 to compute"),
        (Decision({7: 1}), "request 7 is to prefill, but is neither waiting nor prefilling"),
        (Decision({0: 32}, preempt=(0,)), "request 0 is preempted, but is not running"),
        (Decision({0: 32}, hold=frozenset([0])), "request 0 is held, but is not decoding"),
        (Decision(abandon=frozenset([5])), "request 5 is abandoned, but is neither waiting nor running"),
        (Decision(), "Wrong: 1 requests wait for ever"),
    ],
)
def test_wrong_decisions_are_named(decision, message):
    with pytest.raises(PolicyError, match=message.replace("(", r"\(")):
        serve(workload((1.0, 32, 2)), Wrong(decision))


def test_overcommitted_memory_is_named():
    with pytest.raises(PolicyError, match="prefill of request 1 takes 3 KV blocks, 2 are free"):
        serve(workload((0.0, 48, 2), (0.0, 48, 2)), Wrong(Decision({0: 48, 1: 48})), num_gpu_blocks=5)


class AbandonAll(Scheduler):
    def schedule(self, view):
        late = frozenset(r.id for r in view.running if r.emitted_tokens >= 2)
        return Decision({r.id: r.tokens_to_prefill for r in view.waiting}, abandon=late, review_at_s=view.now_s)


def test_abandoned_requests_give_memory_back_and_keep_their_tokens():
    record = serve(workload((0.0, 100, 50), (0.5, 160, 1)), AbandonAll(), num_gpu_blocks=10)

    assert record.requests["outcome"].tolist() == [Outcome.ABANDONED, Outcome.FINISHED]
    assert tokens_s(record, 0) == pytest.approx([0.020, 0.030])
    assert record.requests["end_s"][0] == pytest.approx(0.030)


def test_held_request_keeps_its_memory_and_resumes():
    class HoldFirst(Scheduler):
        def schedule(self, view):
            if view.num_waiting:
                return Decision({r.id: r.tokens_to_prefill for r in view.waiting})
            hold = frozenset([0]) if 0.045 < view.now_s < 0.095 else frozenset()
            return Decision(hold=hold, review_at_s=0.05 if view.now_s < 0.05 else 0.1)

    record = serve(workload((0.0, 50, 9), (0.0, 50, 9)), HoldFirst())

    one = 0.020 + STEP * np.arange(9)
    assert tokens_s(record, 1) == pytest.approx(one)
    assert tokens_s(record, 0) == pytest.approx([*one[:4], *(one[3] + 0.050 + STEP * np.arange(1, 6))])
    assert np.isnan(record.timelines().head_s).tolist() == [False, True, False]


class NotesAnArray(ChunkedPrefill):
    def schedule(self, view):
        times_s = np.append(np.array([]) if view.notes is None else view.notes, view.now_s)
        return super().schedule(view)._replace(notes=times_s)


def test_notes_may_be_what_cannot_be_compared():
    requests = workload((0.0, 100, 5), (0.5, 100, 5))

    plain, noting = serve(requests, ChunkedPrefill()), serve(requests, NotesAnArray())
    assert np.array_equal(noting.requests["end_s"], plain.requests["end_s"])
