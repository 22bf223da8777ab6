"""Conversations as they are drawn, and scenarios with them, through to the score."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.scenario import load_scenario
from llmsim.workload.conversations import Number, Plan, Wait, converse
from llmsim.workload.length_source import LengthSource
from llmsim.workload.prefixes import seen_before
from llmsim.workload.sessions import NO_REQUEST
from llmsim.workload.streams import streams
from llmsim.workload.synthetic import arrival_process

N = 6000


class Uniform(LengthSource):
    def tokens(self, rng, requests):
        return rng.integers(1, 90, requests), rng.integers(1, 60, requests)


LENGTHS = Uniform()
ARRIVALS = arrival_process("poisson", rate_per_s=0.5)


def drawn(begin=ARRIVALS, requests=N, seed=1, **options):
    plan = Plan(**({"turns": Number(4.0), "think": Wait(12.0)} | options))
    return converse(streams(seed), plan, requests=requests, begin=begin, lengths=LENGTHS)


def chains(workload):
    """Requests of each conversation, in order of turn."""
    order = np.lexsort((workload.sessions.turn, workload.sessions.conversation))
    return np.split(order, np.flatnonzero(np.diff(workload.sessions.conversation[order])) + 1)


def test_each_prompt_is_the_whole_conversation_and_a_new_question():
    workload, alone = drawn(), drawn(history=False)
    first_lengths = LENGTHS.tokens(streams(1).lengths, N)  # in order of conversation, as they are drawn
    before = 0
    for chain in chains(workload):
        prompts, answers = workload.prompt_tokens[chain], workload.output_tokens[chain]
        questions = first_lengths[0][before : before + len(chain)]
        assert prompts.tolist() == (np.cumsum(questions) + np.cumsum(answers) - answers).tolist()
        before += len(chain)
    assert np.array_equal(np.sort(alone.prompt_tokens), np.sort(first_lengths[0]))
    assert alone.prefixes is None


def test_the_history_and_nothing_else_is_what_a_prefix_cache_may_find():
    workload = drawn(requests=400)
    prefixes = workload.prefixes
    seen = seen_before(prefixes)
    for chain in chains(workload):
        said = 0
        for i in chain:
            ids, ends = prefixes.of(i)
            known = seen[prefixes.start[i] : prefixes.start[i + 1]]
            assert (ends[known].max() if known.any() else 0) == said
            said = workload.prompt_tokens[i] + workload.output_tokens[i]
            assert ends[-1] == said
            assert len(ids) == workload.sessions.turn[i] + 1


def test_turns_are_geometric_and_waits_have_their_means():
    workload = drawn(requests=40_000)
    turns = np.array([len(chain) for chain in chains(workload)])[:-1]
    waits_s = workload.sessions.think_s[workload.sessions.after != NO_REQUEST]

    for k in (1, 2, 5):  # P(K > k) = (1 - 1/mean)^k
        assert (turns > k).mean() == pytest.approx(0.75**k, abs=4 * np.sqrt(0.25 / len(turns)))
    assert waits_s.mean() == pytest.approx(12.0, rel=4 / np.sqrt(len(waits_s)))


def test_conversations_begin_when_the_arrival_process_says():
    workload = drawn()
    begin_s = workload.arrival_s[workload.sessions.after == NO_REQUEST]

    assert np.array_equal(begin_s, ARRIVALS.times_s(streams(1).arrivals, len(begin_s)))


def test_an_agent_waits_for_tools_between_calls_and_for_the_user_between_turns():
    workload = drawn(
        turns=Number(2, "fixed"), calls=Number(3, "fixed"), tool=Wait(0.5, "fixed"), think=Wait(9, "fixed")
    )
    whole = [chain for chain in chains(workload) if len(chain) == 6]

    assert len(whole) == N // 6
    for chain in whole:
        assert workload.sessions.think_s[chain].tolist() == [0, 0.5, 0.5, 9, 0.5, 0.5]


def test_closed_loop_users_have_one_conversation_after_the_other():
    workload = drawn(7, pause=Wait(30, "fixed"))
    sessions = workload.sessions
    first = np.array([chain[0] for chain in chains(workload)])
    last = np.array([chain[-1] for chain in chains(workload)])

    assert sessions.after[first[:7]].tolist() == [NO_REQUEST] * 7
    assert sessions.after[first[7:]].tolist() == last[:-7].tolist()
    assert (sessions.think_s[first] == 30).all()
    assert (workload.arrival_s[first[:7]] == 30).all()


def test_a_full_context_begins_a_new_conversation():
    workload = drawn(max_context_tokens=300)
    total = workload.prompt_tokens + workload.output_tokens

    assert total.max() <= 300
    assert len(chains(workload)) > len(chains(drawn()))
    assert len(workload) == N


def test_changing_one_thing_leaves_the_others_as_they_were():
    one, other = drawn(), drawn(think=Wait(1.0))

    assert np.array_equal(np.sort(one.prompt_tokens), np.sort(other.prompt_tokens))
    assert np.array_equal(
        one.arrival_s[one.sessions.after == NO_REQUEST], other.arrival_s[other.sessions.after == NO_REQUEST]
    )


SESSIONS = (
    "workload.requests=120",
    'workload.lengths={source="fixed",prompt_tokens=64,output_tokens=16}',
    "workload.sessions={turns={mean=4},think={mean_s=1}}",
)


def test_a_cache_without_limits_finds_the_history_but_for_cut_blocks():
    scenario = load_scenario("quickstart", [*SESSIONS, "cluster.prefix_caching=true"])
    result = experiment.run(scenario)
    rows = result.record.requests

    # turn k repeats 80 k tokens, 5 k blocks of 16, all but the last of which is computed: the last token of an answer
    # never is, so its block is not full
    expected = np.maximum(80 * rows["turn"] - 16, 0)
    assert rows["cached_tokens"].tolist() == expected.tolist()
    assert result.score["conversations"]["complete"] == result.score["conversations"]["total"]


def test_sessions_closed_by_users_need_no_cap_and_cut_off_runs_say_what_is_left():
    closed = 'workload.arrivals={process="closed",concurrency=5}'
    result = experiment.run(load_scenario("quickstart", [*SESSIONS, closed, "until_s=10"]))
    rows = result.record.requests
    in_flight = [(rows["arrival_s"] <= t).sum() - (rows["end_s"] <= t).sum() for t in rows["arrival_s"]]

    assert result.scenario.max_in_flight is None
    assert max(in_flight) <= 5
    assert result.score["conversations"]["unfinished"] > 0
    assert len(rows["arrival_s"]) < 120


def test_attempts_and_requests_are_counted_apart_and_read_back_alike(tmp_path):
    changes = ["workload.requests=150", "patience.first_token.mean_s=0.05", "retries.max_attempts=3"]
    result = experiment.run(load_scenario("overloaded", changes))
    experiment.write(result, tmp_path)
    again = experiment.read_record(tmp_path)
    made = result.score["attempts"]

    assert result.score["requests"]["total"] == 150
    assert made["total"] == len(result.record.requests["attempt"]) == 150 * made["per_request"] > 150
    assert sum(made["requests_by_attempts"]) == 150
    assert made["finished"] == result.score["requests"]["finished"]
    assert 0 < result.score["wasted"]["gpu_s"] < result.score["wasted"]["busy_gpu_s"]
    for name in ("request", "attempt", "prefill_gpu_s"):
        assert np.array_equal(again.requests[name], result.record.requests[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["workload.sessions.turns.mean=3"], "workload.sessions.think"),
        ([SESSIONS[2], "workload.sessions.pause.mean_s=3"], "pause belongs to closed arrivals"),
        ([SESSIONS[2], "workload.prefixes={system_tokens=9}"], "prefixes and sessions exclude each other"),
        (['workload.sessions={turns={mean=1.5,distribution="fixed"},think={mean_s=1}}'], "expected a whole number"),
        ([SESSIONS[2], "workload.sessions.turn.mean=3"], "did you mean 'turns'"),
        (["retries.max_attempts=0"], "retries.max_attempts"),
        (["retries.on=[]"], "retries.on"),
        (['retries.on=["reject"]'], "retries.on"),
        (['workload.arrivals={process="piecewise",from_s=[0,1],rates_per_s=[1]}'], "rates_per_s = .* expected as many"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(changes, message):
    with pytest.raises(InputError, match=message):
        experiment.run(load_scenario("quickstart", changes))
