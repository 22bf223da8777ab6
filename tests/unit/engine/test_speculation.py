"""Even acceptance: what steps yield, when they end, what they hold; and nothing changes where nothing is drafted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim.acceptance import PER_TOKEN, DrawnPace, Draws, Pace
from llmsim.engine.memory import KVMemory
from llmsim.engine.speculation.batch import SpeculativeBatch
from llmsim.engine.speculation.blocks import Reservation
from llmsim.engine.speculation.rule import Speculation
from llmsim.errors import InputError, PolicyError
from llmsim.request import Request
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.sglang import Sglang
from llmsim.testing import LinearSteps, same, serve, workload
from llmsim.testing.builders import drawn
from llmsim.workload.acceptance import Acceptance, draw, draw_steps, rates_of
from tests.properties.asynchronous import declared


def pace(gain, phase, reach=1):
    return Pace(3, gain, phase, reach, 0, 0, 16, 0, 0)


def accepting(requests, *lengths, phase=0):
    n = len(requests)
    return replace(requests, acceptance=Acceptance((lengths,), np.zeros(n, np.int64), np.full(n, phase)))


@pytest.mark.parametrize(
    ("gain", "phase", "tokens"),
    [
        (270, 0, [0, 2, 5, 8, 10, 13, 16, 18, 21]),
        (270, 50, [0, 3, 5, 8, 11, 14, 16, 19, 22]),
        (275, 75, [0, 3, 6, 9, 11, 14, 17, 20, 22]),
    ],
)
def test_tokens_after_steps(gain, phase, tokens):
    assert [pace(gain, phase).tokens(steps) for steps in range(9)] == tokens


def test_steps_for_tokens():
    assert [pace(270, 0).steps_for(n) for n in (1, 2, 3, 5, 10, 27)] == [1, 1, 2, 2, 4, 10]
    assert [pace(270, 50).steps_for(n) for n in (1, 2, 3, 5, 10, 27)] == [1, 1, 1, 2, 4, 10]


def test_over_all_phases_a_step_yields_the_acceptance_length_rounded_down_or_up_and_that_on_average():
    yields = [pace(270, phase).tokens(1) for phase in range(PER_TOKEN)]
    assert yields.count(2) == 30
    assert yields.count(3) == 70


def test_paces_equal_tokens_counted_one_by_one():
    rng = np.random.default_rng(0)
    for gain, phase, steps, wanted in rng.integers([100, 0, 0, 1], [900, 100, 60, 60], (20_000, 4)).tolist():
        emitted, fraction, took = 0, phase, None
        for step in range(1, 61):
            fraction += gain
            while fraction >= PER_TOKEN:
                fraction -= PER_TOKEN
                emitted += 1
            if took is None and emitted >= wanted:
                took = step
            if step == steps:
                assert (emitted, fraction) == (pace(gain, phase).tokens(steps), pace(gain, phase).phase_after(steps))
            if took is not None and step >= steps:
                break
        assert took == pace(gain, phase).steps_for(wanted)


@pytest.mark.parametrize(
    ("rates", "steps"),
    [
        ([0.8, 0.64, 0.512], {5: 2.2096, 10: 3.820527, 100: 34.290289}),  # each draft accepted with 0.8, by renewal
        ([1.0, 1.0, 0.6], {5: 2.0, 10: 3.064, 100: 28.148156}),  # two always, and a third one with 0.6
    ],
)
def test_steps_until_so_many_tokens_are_drawn(rates, steps):
    """Of 2,000 requests, or 200: means are within 4 standard errors of what is exact."""
    for tokens, exact in steps.items():
        found = [
            DrawnPace(3, 0, 0, 1, 0, 0, 1, 0, 0)
            .drawn(Draws(np.random.default_rng(seed), np.array(rates)), 0)
            .steps_for(tokens)
            for seed in range(2_000 if tokens < 100 else 200)
        ]
        error = max(np.std(found) / np.sqrt(len(found)), 1e-9)
        assert abs(np.mean(found) - exact) < 4 * error


def test_rates_are_those_of_the_lengths():
    assert rates_of((100, 180, 244, 295)).tolist() == [0.8, 0.64, 0.51]
    assert rates_of((100, 150, 150, 190)).tolist() == [0.5, 0.4, 0.0]  # all three have their length


def test_what_is_drawn_for_a_request_hangs_on_nothing_else():
    acceptance = draw_steps(np.random.default_rng(1), [(100, 180)], np.zeros(5, np.int64), 1)
    again = draw_steps(np.random.default_rng(1), [(100, 180)], np.zeros(5, np.int64), 1)
    through = [acceptance.draws_of(id).upto(200) for id in range(5)]
    assert [again.draws_of(id).upto(300)[:201] for id in reversed(range(5))] == [
        each[:201] for each in reversed(through)
    ]
    assert len({tuple(each) for each in through}) == 5


def test_one_request_whose_last_step_yields_more_than_it_asks_for():
    rule = Speculation(((1, 3),), 0, {3: LinearSteps(0.013, 0.0)})
    requests = accepting(workload((0.0, 16, 10)), 100, 100, 100, 270)
    record = serve(requests, ChunkedPrefill(), speculation=rule)
    times_s = record.timelines().token_times_s(0) - 0.013
    assert times_s == pytest.approx([0, *[0.013] * 2, *[0.026] * 3, *[0.039] * 3, 0.052])
    assert record.timelines().token_times_s(0)[-1] - record.timelines().token_times_s(0)[0] == pytest.approx(0.052)


def test_the_sum_of_contexts_grows_by_acceptance_lengths():
    batch = SpeculativeBatch(KVMemory(1000), Reservation(4))
    batch.drafts = 1
    for id in range(15):
        request = Request(id, 0.0, 100)
        request.emitted_before, request.prefilled_tokens = 1, 100
        request.acceptance = (100, 270 if id < 10 else 190)
        batch.join(request, 50)
    before = batch.context
    assert batch.stride == 3650
    batch.advance(7)
    assert batch.context == before + 7 * 3650


def test_a_step_has_memory_for_its_token_the_drafted_ones_and_the_look_ahead():
    """15 tokens are in memory; with 3 drafts and 3 of look-ahead the first step needs room for 15 + 7 of them."""
    memory = KVMemory(1000)
    batch = SpeculativeBatch(memory, Reservation(7))
    request = Request(0, 0.0, 15)
    request.emitted_before, request.prefilled_tokens, request.acceptance = 1, 15, (360,)
    memory.take(1)
    batch.join(request, 1000)
    begins = [15 + 36 * step // 10 for step in range(50)]
    assert [batch.blocks_within(steps) for steps in range(1, 51)] == [-(-(n + 7) // 16) - 1 for n in begins]
    batch.advance(9)
    assert 1000 - memory.free_blocks == -(-(begins[8] + 7) // 16)
    batch.leave(request)
    assert request.reserved_tokens == begins[8] + 7
    assert request.known_tokens() == begins[8] + 1  # what the ninth step has accepted is not seen yet
    assert request.computed_tokens == begins[9]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("blocks", [60, 1000])
def test_drafting_nothing_equals_no_speculation(blocks, asynchronous):
    requests = declared(drawn(np.random.default_rng(3), 60, 20.0), "mixed")
    latency = LinearSteps(0.01, 1e-4, 1e-4, 1e-6)
    options = {"latency": latency, "num_gpu_blocks": blocks, "async_scheduling": asynchronous}
    plain = serve(requests, ChunkedPrefill(), **options)
    nothing = Speculation(((1, 0),), 0, {0: latency})
    drafting = serve(accepting(requests, 100), ChunkedPrefill(), speculation=nothing, **options)
    paced = drafting.timelines().paces
    assert paced is not None
    del drafting.steps["drafted_tokens"]
    for column in ("tokens", "gain", "phase"):
        del drafting.segments[column]
    assert same(plain, drafting)
    assert all(np.array_equal(plain.steps[name], drafting.steps[name]) for name in plain.steps)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_accepting_nothing_equals_no_speculation_where_verifying_is_free(asynchronous):
    requests = declared(drawn(np.random.default_rng(4), 60, 20.0), "mixed")
    latency = LinearSteps(0.01, 1e-4, 1e-4, 1e-6)
    plain = serve(requests, ChunkedPrefill(), latency=latency, async_scheduling=asynchronous)
    in_vain = Speculation(((1, 3),), 3, {3: latency})
    rejecting = replace(requests, acceptance=draw(np.random.default_rng(0), [[100] * 4], np.zeros(60, np.int64), 3))
    drafting = serve(rejecting, ChunkedPrefill(), latency=latency, speculation=in_vain, async_scheduling=asynchronous)
    for id in range(60):
        assert np.array_equal(plain.timelines().token_times_s(id), drafting.timelines().token_times_s(id))


@pytest.mark.parametrize(("output", "seats_free_at"), [(9, 5), (10, 6), (11, 6)])
def test_under_asynchronous_scheduling_a_request_that_may_go_on_is_computed_once_more(output, seats_free_at):
    """Tokens after steps are 1, 3, 6, 8, 11, ...: only of 9 is the engine sure that the fifth step ends it with 1."""
    rule = Speculation(((1, 3),), 0, {3: LinearSteps(0.01, 0.0)})
    requests = declared(workload((0.0, 16, output), (0.0, 16, 1)), "length")
    requests = accepting(requests, 100, 100, 100, 250)
    record = serve(requests, ChunkedPrefill(max_num_seqs=1), speculation=rule, async_scheduling=True)
    first, second = (record.timelines().token_times_s(id) for id in (0, 1))
    assert first[-1] == pytest.approx(0.01 * (1 + {9: 4, 10: 4, 11: 4}[output]))
    assert second[0] == pytest.approx(0.01 * (seats_free_at + 1))


def test_instances_that_cannot_speculate_say_so():
    rule = Speculation(((1, 3),), 0, {3: LinearSteps()})
    requests = accepting(workload((0.0, 16, 10)), 100, 100, 100, 270)
    with pytest.raises(InputError, match="Sglang does not count drafted tokens"):
        serve(requests, Sglang(), speculation=rule)
    with pytest.raises(InputError, match="need each other"):
        serve(requests, ChunkedPrefill())
    with pytest.raises(InputError, match="need each other"):
        serve(workload((0.0, 16, 10)), ChunkedPrefill(), speculation=rule)


class Deciding(ChunkedPrefill):
    """Decides at each step how many tokens requests draft, by their ids."""

    chooses_drafts = True
    needs_speculation = True
    asks_every_step = True

    def __init__(self, drafts_of):
        super().__init__()
        object.__setattr__(self, "drafts_of", drafts_of)

    def schedule(self, view):
        drafts = {request.id: self.drafts_of(request) for request in view.decoding}
        return super().schedule(view)._replace(drafts=drafts)


#: step times by drafted tokens, and of sequences that draft different numbers
TIMES = {k: LinearSteps(0.01, 1e-4, 2e-4 * (1 + k), 1e-6) for k in range(5)}
CURVE = (100, 170, 219, 253, 277)


def deciding(mixed=lambda mix: TIMES[max(mix)]):
    return Speculation(((1, 4),), 0, TIMES, mixed=mixed)


def test_one_number_for_all_equals_speculation_with_that_number():
    requests = accepting(drawn(np.random.default_rng(5), 60, 20.0), *CURVE)
    one = serve(requests, ChunkedPrefill(), speculation=Speculation(((1, 2),), 0, TIMES))
    decided = serve(requests, Deciding(lambda request: 2), speculation=deciding())
    for id in range(60):
        assert np.array_equal(one.timelines().token_times_s(id), decided.timelines().token_times_s(id))
    total = [(record.steps["drafted_tokens"] * record.steps["steps"]).sum() for record in (one, decided)]
    assert total[0] == total[1]


def test_requests_draft_as_many_tokens_each_as_decided():
    """Two requests, of 4 and of 1 drafts: 277 and 170 hundredths a step, in steps as long as four drafts take."""
    requests = accepting(workload((0.0, 16, 12), (0.0, 16, 12)), *CURVE)
    mixes = []

    def mixed(mix):
        mixes.append(dict(mix))
        return LinearSteps(0.02, 0.0)

    record = serve(requests, Deciding(lambda request: 4 - 3 * request.id), speculation=deciding(mixed))
    times_s = [record.timelines().token_times_s(id) for id in (0, 1)]
    first_s = times_s[0][0]
    steps = [np.round((times - first_s) / 0.02).astype(int).tolist() for times in times_s]
    # after 1, 2, ... steps: 2, 5, 8, 11 tokens of one, and 1, 3, 5, 6, 8, ... of the other
    assert steps[0] == [0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert steps[1][:7] == [0, 1, 2, 2, 3, 3, 4]
    assert mixes[0] == {4: 1, 1: 1}
    assert record.steps["drafted_tokens"].tolist()[1:3] == [5, 5]


@pytest.mark.parametrize(
    ("drafts", "says"),
    [
        ({0: 5}, "request 0 is to draft 5 tokens, expected from 0 to 4"),
        ({0: -1}, "request 0 is to draft -1 tokens, expected from 0 to 4"),
        ({0: 1.5}, "request 0 is to draft 1.5 tokens"),
        ({7: 1}, "request 7 is to draft, but is neither waiting nor running"),
        ({1: 1}, "request 1 is to draft, but is not decoding"),
        (3, "decided drafts = 3, expected a mapping of request ids to whole numbers of tokens"),
    ],
)
def test_decisions_about_drafts_that_cannot_be_are_told(drafts, says):
    class Wrong(Deciding):
        def schedule(self, view):
            return ChunkedPrefill.schedule(self, view)._replace(drafts=drafts if view.num_decoding else {})

    requests = accepting(workload((0.0, 16, 12), (0.005, 16, 12)), *CURVE)
    with pytest.raises(PolicyError, match=says):
        serve(requests, Wrong(None), speculation=deciding())


def test_policies_that_decide_drafts_need_speculation_and_others_do_not_decide_them():
    requests = accepting(workload((0.0, 16, 12)), *CURVE)
    with pytest.raises(InputError, match="Deciding decides how many tokens each request drafts: it needs speculation"):
        serve(requests, Deciding(lambda request: 1), speculation=Speculation(((1, 4),), 0, TIMES))
    with pytest.raises(InputError, match="it needs speculation"):
        serve(workload((0.0, 16, 12)), Deciding(lambda request: 1))
    steps = draw_steps(np.random.default_rng(0), [CURVE], np.zeros(1, np.int64), 4)
    with pytest.raises(InputError, match="draws are of one number"):
        serve(replace(requests, acceptance=steps), Deciding(lambda request: 1), speculation=deciding())

    class Silent(Deciding):
        chooses_drafts = False

    with pytest.raises(PolicyError, match="decided drafts, which only a policy does that declares"):
        serve(requests, Silent(lambda request: 1), speculation=Speculation(((1, 4),), 0, TIMES))
    with pytest.raises(PolicyError, match="decided drafts of request 0, and nothing is drafted here"):
        serve(workload((0.0, 16, 12)), Silent(lambda request: 1))


@pytest.mark.parametrize("drafts", [{3: 2}, {4: 1, 3: 1}])
def test_policies_ask_for_step_times_without_drafts_and_with_the_number_that_is_drafted(drafts):
    told, requests = [], accepting(workload((0.0, 16, 12)), *CURVE)

    class Asking(ChunkedPrefill):
        def schedule(self, view):
            told.extend([view.step_time_s((), 2, 50), view.step_time_s((), 2, 50, {4: 2})])
            view.step_time_s((), 2, 50, drafts)

    with pytest.raises(PolicyError, match=r"asks for step times with drafts = .*, expected one number, of 4"):
        serve(requests, Asking(), speculation=Speculation(((1, 4),), 0, {4: TIMES[4]}))
    assert told[0] > 0
    assert told[1] == TIMES[4].step_time_s((), 2, 50)


def test_policies_see_what_drawn_steps_have_yielded_and_nothing_of_those_to_come():
    asked = []

    class Curious(ChunkedPrefill):
        def schedule(self, view):
            for request in view.decoding:
                steps = view.decode_steps - request.joined_step
                asked.append((request.pace.tokens(steps), request.emitted_tokens - request.emitted_before))
                for ahead in (request.pace.tokens, request.pace.steps_for):
                    with pytest.raises(PolicyError, match="asks what steps to come will yield"):
                        ahead(steps + 1)
            return super().schedule(view)

    requests = workload(*((0.02 * k, 16, 60) for k in range(5)))
    requests = replace(requests, acceptance=draw_steps(np.random.default_rng(0), [CURVE], np.zeros(5, np.int64), 4))
    serve(requests, Curious(), speculation=Speculation(((1, 4),), 0, TIMES))
    assert len(asked) > 5
    assert all(one == other for one, other in asked)
    assert max(one for one, _ in asked) > 3
