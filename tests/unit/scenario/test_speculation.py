"""[speculation]: what it says is used, and what cannot be is one clear line."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.experiment import assemble, result_folder, run
from llmsim.experiment.assembly import check
from llmsim.metrics.request_latency import tpot_s
from llmsim.scenario import load_scenario
from llmsim.testing import same

BASE = ("workload.requests=40", "speculation.acceptance=null")
EIGHT = ("speculation.num_speculative_tokens=8", "scheduler.max_num_seqs=64")
LENGTH = (*BASE, "speculation.acceptance_length=2.7")
CLASSES = 'workload.classes=[{name = "chat", weight = 0.5}, {name = "code", weight = 0.5, acceptance_length = %s}]'


def spoken(*changes):
    with pytest.raises(InputError) as error:
        check(load_scenario("speculation", [*changes]))
    said = str(error.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ((*BASE, "speculation.acceptance_length=4.5"), "acceptance_length = 4.5, expected from 1 to 4"),
        ((*BASE, "speculation.acceptance_length=0.9"), "acceptance_length = 0.9, expected from 1 to 4"),
        ((*BASE, "speculation.acceptance_length=2.755"), "expected hundredths, such as 2.75"),
        (BASE, "expected acceptance_length, acceptance_rates or acceptance"),
        (("speculation.acceptance_length=2",), "acceptance_length and acceptance exclude each other"),
        ((*BASE, "speculation.acceptance_rates=[0.8, 0.6]"), "2 acceptance_rates; expected one for each of 3"),
        ((*BASE, "speculation.acceptance_rates=[0.6, 0.8, 0.1]"), "acceptance_rates ascend"),
        (("speculation.acceptance=kimi-k2.5/on",), "did you mean 'kimi-k2.5-nvfp4/on'?"),
        (
            ("speculation.num_speculative_tokens=9", "scheduler.max_num_seqs=64"),
            "measured with up to 8 drafted tokens, not with 9",
        ),
        (("speculation.method=medusa",), "unknown value 'medusa'"),
        (("speculation.num_spec_tokens=3",), "unknown key; did you mean 'num_speculative_tokens'"),
        (
            ("speculation.num_speculative_tokens_per_batch_size=[[1, 8, 3], [10, 20, 1]]",),
            "[10, 20, 1] leaves a gap; expected it to begin at 9",
        ),
        (
            ("speculation.num_speculative_tokens_per_batch_size=[[1, 8, 3], [8, 20, 1]]",),
            "[8, 20, 1] overlaps; expected it to begin at 9",
        ),
        (
            ("speculation.num_speculative_tokens_per_batch_size=[[1, 8, 4]]",),
            "[1, 8, 4] drafts more than num_speculative_tokens = 3",
        ),
        (
            ("speculation.adapt=goodput", "speculation.num_speculative_tokens_per_batch_size=[[1, 8, 3]]"),
            "adapt and num_speculative_tokens_per_batch_size exclude each other",
        ),
        (("speculation.adapt=goodput", "scheduler.async_scheduling=true"), "adapt goes with scheduler.async"),
        (
            ("speculation.acceptance_kind=random", "speculation.adapt=goodput"),
            "acceptance_kind = 'random' and adapt exclude each other",
        ),
        (("speculation.method=draft_model",), "method 'draft_model' needs draft = {model = ...}"),
        (("speculation.method=ngram",), "method 'ngram' looks tokens up in the prompt; expected no draft"),
        (("speculation.draft={layers = 1, step_s = 0.001}",), "layers and step_s exclude each other"),
        (("scheduler.max_num_seqs=4096",), "4096 requests that draft 3 tokens each compute 16384 in a step"),
        (("scheduler={name = 'fcfs'}",), "Fcfs does not count drafted tokens"),
        (("scheduler={name = 'sglang'}",), "Sglang does not count drafted tokens"),
        (
            ("scheduler.async_scheduling=true", "speculation.method=ngram", "speculation.draft=null"),
            "method = 'ngram' goes with scheduler.async_scheduling = false",
        ),
        (
            (
                "scheduler.async_scheduling=true",
                "speculation.num_speculative_tokens_per_batch_size=[[1, 8, 3], [9, 20, 1]]",
            ),
            "num_speculative_tokens_per_batch_size goes with scheduler.async_scheduling = false",
        ),
        (("abandonment.policy=must_miss",), "foresees a token a step"),
        (
            ("speculation.method=ngram", "speculation.draft=null",
             "cluster.latency={name = 'fitted', prefill = [0.1, 0, 0], decode_small = [0.1, 0, 0], "
             "decode_large = [0.1, 0, 0], large_batch = 9}",),
            "step times of Fitted do not say what it takes to verify drafted tokens",
        ),
        (
            ("cluster.latency={name = 'constant', step_s = 0.01}",),
            "step times of Constant do not tell layers apart; expected seconds or a model for the drafter",
        ),
        ((*LENGTH, CLASSES % 4.2), "class 'code': acceptance_length = 4.2, expected from 1 to 4"),
        (("speculation=null", CLASSES % 2), "class 'code' has an acceptance_length, and there is no [speculation]"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line(changes, said):
    assert said in spoken(*changes)


def accepted(*changes):
    scenario = load_scenario("speculation", [*changes])
    return assemble(scenario).workload.acceptance


def test_acceptance_lengths_of_fewer_drafts():
    assert accepted(*LENGTH).lengths == ((100, 200, 270, 270),)  # the first ones are always accepted
    assert accepted(*BASE, "speculation.acceptance_rates=[0.8, 0.6, 0.13]").lengths == ((100, 180, 240, 253),)
    assert accepted("speculation.acceptance=deepseek-v4-pro/on", *EIGHT).lengths == (
        (100, 179, 227, 249, 254, 255, 255, 255, 258),  # measured 2.54 with seven: noise
    )
    assert accepted(*LENGTH, CLASSES % 3.2).lengths == ((100, 200, 270, 270), (100, 200, 300, 320))


def test_phases_are_those_that_the_length_tells_apart():
    whole = accepted("workload.requests=500", "speculation.acceptance=null", "speculation.acceptance_length=3")
    assert not whole.phase.any()
    halves = accepted("workload.requests=500", "speculation.acceptance=null", "speculation.acceptance_length=2.5")
    assert set(halves.phase.tolist()) == {0, 50}
    hundredths = accepted("workload.requests=500", "speculation.acceptance=null", "speculation.acceptance_length=2.77")
    assert abs(hundredths.phase.mean() - 49.5) < 5


def test_requests_are_the_same_with_and_without():
    plain, drafting = (assemble(load_scenario("speculation", [*c])).workload for c in (("speculation=null",), ()))
    assert np.array_equal(plain.arrival_s, drafting.arrival_s)
    assert np.array_equal(plain.output_tokens, drafting.output_tokens)


def test_drafting_nothing_is_no_speculation():
    nothing = run(load_scenario("speculation", ["workload.requests=40", "speculation.num_speculative_tokens=0"]))
    assert same(nothing.record, run(load_scenario("speculation", ["workload.requests=40", "speculation=null"])).record)


def test_a_drafter_takes_memory():
    blocks = {
        name: assemble(load_scenario("speculation", ["cluster.latency=roofline", *changes])).num_gpu_blocks[0]
        for name, changes in {
            "none": ["speculation=null"],
            "ngram": ["speculation.method=ngram", "speculation.draft=null"],
            "head": [],
            "model": ["speculation.method=draft_model", "speculation.draft={model = 'qwen3-8b'}"],
        }.items()
    }
    assert blocks["none"] == blocks["ngram"] > blocks["head"] > blocks["model"]
    assert blocks["head"] == pytest.approx(blocks["none"] * 32 / 33, rel=0.02)  # one layer more, with its weights


def drafts(record):
    """Tokens that each sequence drafts, and how many there are, in each row of steps that decode."""
    sequences = record.steps["decoding"]
    decoding = sequences > 0
    return record.steps["drafted_tokens"][decoding] / sequences[decoding], sequences[decoding]


def test_a_run_by_the_number_of_requests_equals_single_steps():
    changes = ["workload.requests=70", "workload.arrivals.rate_per_s=15"]
    changes.append("speculation.num_speculative_tokens_per_batch_size=[[1, 4, 3], [5, 9, 1], [10, 1024, 0]]")
    scenario = load_scenario("speculation", changes)
    stretches, steps = run(scenario), run(scenario, stepwise=True)
    assert same(stretches.record, steps.record)
    drafted, sequences = drafts(stretches.record)
    assert set(drafted.tolist()) == {0, 1, 3}
    assert (drafted[sequences > 9] == 0).all()


def test_vllm_schedules_ahead_unless_n_grams_are_looked_up():
    def asynchronous(*changes):
        made = assemble(load_scenario("speculation", ["cluster.engine=vllm-0.33", "scheduler={}", *changes]))
        return made.instances[0].async_scheduling

    assert asynchronous()
    assert not asynchronous("speculation.method=ngram", "speculation.draft=null")
    assert asynchronous("speculation=null")


def test_an_asynchronous_run_equals_single_steps():
    scenario = load_scenario("speculation", ["workload.requests=80", "scheduler.async_scheduling=true"])
    assert same(run(scenario).record, run(scenario, stepwise=True).record)


def test_goodput_drafts_fewer_the_more_requests_there_are():
    """Steps take 10 ms and 1 ms for each token; lengths are 1, 2, 2.7, 2.7: 2.7 / (10 + 3 n) against 2 / (10 + 2 n)."""
    latency = "cluster.latency={name = 'constant', step_s = 0.01, decode_seq_s = 0.001}"
    changes = [*LENGTH, latency, "speculation.adapt=goodput", "speculation.draft={step_s = 0.0}"]
    rule = assemble(load_scenario("speculation", changes)).instances[0].speculation
    assert [rule.drafts(n, 0) for n in (1, 11, 12, 1000)] == [2, 2, 1, 1]
    assert rule.drafts(0, 0) == 3


def test_a_run_by_goodput_equals_single_steps():
    changes = [*LENGTH, "workload.requests=90", "workload.arrivals.rate_per_s=10", "speculation.adapt=goodput"]
    latency = "cluster.latency={name = 'constant', step_s = 0.01, decode_seq_s = 0.001}"
    scenario = load_scenario("speculation", [*changes, latency, "speculation.draft={step_s = 0.0}"])
    stretches, steps = run(scenario), run(scenario, stepwise=True)
    assert same(stretches.record, steps.record)
    assert set(drafts(stretches.record)[0].tolist()) == {1, 2}


def test_random_acceptance_has_the_same_mean_and_more_spread():
    changes = ["workload.requests=300", "workload.arrivals.rate_per_s=0.2"]
    even, drawn = (
        run(load_scenario("speculation", [*changes, f"speculation.acceptance_kind={kind}"]))
        for kind in ("even", "random")
    )
    length = even.score["speculation.acceptance_length"]
    assert drawn.score["speculation.acceptance_length"] == pytest.approx(length, rel=0.02)
    long = even.record.requests["output_tokens"] > 100
    each_s = [tpot_s(each.delivered)[long] for each in (even, drawn)]
    added = np.sqrt(np.var(each_s[1]) - np.var(each_s[0])) / np.mean(each_s[1])
    assert 0.015 < added < 0.08  # 4 % with an acceptance of 0.8 and 100 steps


@pytest.mark.parametrize("kind", ["even", "random"])
def test_a_result_is_read_back_with_the_same_token_times(kind, tmp_path):
    result = run(load_scenario("speculation", ["workload.requests=60", f"speculation.acceptance_kind={kind}"]))
    result_folder.write(result, tmp_path)
    wrote, read = result.record.timelines(), result_folder.read_record(tmp_path).timelines()
    for id in range(60):
        assert np.array_equal(wrote.token_times_s(id), read.token_times_s(id))


def test_pools_that_hand_requests_over_do_not_speculate_and_say_so():
    drafts = "speculation={method = 'ngram', num_speculative_tokens = 3, acceptance_length = 2.0}"
    with pytest.raises(
        InputError, match="pools that hand requests over do not speculate here; expected pools with role"
    ):
        assemble(load_scenario("disaggregated", [drafts]))
