"""SGLang's scheduler by hand: prefill alone, admission shut by a refusal, retraction, options and defaults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim.cluster.build import build_cluster
from llmsim.cluster.spec import InstanceSpec
from llmsim.errors import InputError
from llmsim.experiment.instances import make_instances
from llmsim.request import Outcome
from llmsim.routers.round_robin import RoundRobin
from llmsim.scenario import load_scenario
from llmsim.schedulers.sglang import Notes, Sglang
from llmsim.testing import LinearSteps, PurityChecker, serve, workload
from llmsim.workload.asked import Asked, at_most, exactly

ONE = {"block_tokens": 1}  # a slot for each token


def asked(requests, max_tokens):
    return replace(requests, asked=at_most(max_tokens, requests.output_tokens))


def test_prompts_are_computed_alone_and_first():
    requests = workload((0.0, 100, 20), (0.05, 100, 20), (0.05, 100, 20))
    steps = serve(asked(requests, 20), Sglang(), stretches=False).steps
    with_prompts = steps["prefill_tokens"] > 0

    assert steps["prefill_tokens"][with_prompts].tolist() == [100, 200]
    assert (steps["decoding"][with_prompts] == 0).all()


def test_nothing_decodes_before_the_last_chunk_is_computed():
    requests = workload((0.0, 10, 20), (0.05, 100, 20))
    steps = serve(asked(requests, 20), Sglang(chunked_prefill_size=32), stretches=False).steps
    chunks = np.flatnonzero(steps["prefill_tokens"])

    assert steps["prefill_tokens"][chunks].tolist() == [10, 32, 32, 32, 4]
    assert chunks[1:].tolist() == list(range(chunks[1], chunks[1] + 4))


def decisions(requests, scheduler, **options):
    checker = PurityChecker(scheduler)
    record = serve(requests, checker, **options)
    return checker.decisions, record


def test_after_a_refusal_no_other_is_looked_at_until_one_has_left():
    """Request 1 does not fit beside request 0, request 2 would: it waits behind it until request 0 has ended."""
    requests = workload((0.0, 50, 30), (0.05, 60, 30), (0.05, 5, 5))
    _, record = decisions(asked(requests, 30), Sglang(), num_gpu_blocks=158, **ONE)
    scheduled = record.requests["first_scheduled_s"]

    assert scheduled[1] == scheduled[2] == record.requests["end_s"][0]


def test_a_request_that_asks_for_nothing_is_reckoned_with_all_that_it_may_have():
    """Two would fit, but each may need all of the memory."""
    requests = workload((0.0, 50, 30), (0.05, 50, 30))
    _, record = decisions(requests, Sglang(), num_gpu_blocks=1000, max_model_len=980, **ONE)

    assert record.requests["first_scheduled_s"][1] == record.requests["end_s"][0]


def test_with_the_fewest_output_tokens_it_is_retracted_and_goes_to_the_end():
    requests = workload((0.0, 20, 60), (0.1, 20, 60), (0.15, 60, 10))
    scheduler = Sglang(schedule_conservativeness=0.1)
    _, record = decisions(asked(requests, 60), scheduler, num_gpu_blocks=130, **ONE)

    assert record.requests["preemptions"].tolist() == [0, 1, 0]
    assert record.requests["first_scheduled_s"][2] > record.requests["first_token_s"][1]
    assert (record.requests["outcome"] == Outcome.FINISHED).all()


def test_with_ignore_eos_and_no_cache_it_reckons_when_each_one_ends():
    """Each needs 60 of 100 slots in the end; beside one that will have ended by then the second has room at once."""
    requests = workload((0.0, 20, 40), (0.0, 20, 40))
    _, record = decisions(replace(requests, asked=exactly(requests.output_tokens)), Sglang(), num_gpu_blocks=100, **ONE)
    short = workload((0.0, 20, 40), (0.0, 20, 10))
    _, beside = decisions(replace(short, asked=exactly(short.output_tokens)), Sglang(), num_gpu_blocks=100, **ONE)

    assert record.requests["preemptions"].sum() == beside.requests["preemptions"].sum() == 0
    assert record.requests["first_scheduled_s"][1] == record.requests["end_s"][0]
    assert beside.requests["first_scheduled_s"][1] == 0.0


def test_the_ratio_falls_with_each_decode_step_and_starts_anew_when_idle():
    requests = workload((0.0, 10, 50), (0.2, 10, 50), (100.0, 10, 5), (100.02, 10, 5))
    taken, _ = decisions(asked(requests, 50), Sglang())
    ratios = {round(now_s, 2): decision.notes.ratio for now_s, decision in taken if isinstance(decision.notes, Notes)}

    assert ratios[0.0] == 0.7
    assert ratios[100.0] == 0.7
    fallen = [ratio for now_s, ratio in ratios.items() if 0.2 <= now_s < 0.3]
    assert fallen
    assert all(0.66 < ratio < 0.7 for ratio in fallen)


def test_seats_follow_from_memory():
    requests = workload(*((0.0, 1, 3) for _ in range(30)))
    _, record = decisions(asked(requests, 3), Sglang(), num_gpu_blocks=40, **ONE)

    assert record.steps["running"].max() <= 20


@pytest.mark.parametrize(("gib", "size"), [(16, 2048), (24, 4096), (79.1, 8192), (141, 8192), (180, 16384)])
def test_the_size_of_chunks_goes_by_the_memory_of_the_gpu(gib, size):
    assert Sglang().on_gpu(int(gib * 2**30)).chunked_prefill_size == size
    assert Sglang(chunked_prefill_size=-1).on_gpu(int(gib * 2**30)).chunked_prefill_size == -1


def test_a_scenario_sets_it_by_its_gpu():
    specs = make_instances(load_scenario("sglang", ["cluster.gpu=l40s"]))

    assert specs[0].scheduler.chunked_prefill_size == 4096


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"chunked_prefill_size": 0}, "chunked_prefill_size is 0, expected at least 1, or -1 for no chunks"),
        ({"max_prefill_tokens": 0}, "max_prefill_tokens is 0, expected more than 0"),
        ({"schedule_conservativeness": -1.0}, "schedule_conservativeness is -1.0, expected more than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, says):
    with pytest.raises(InputError, match=says):
        Sglang(**options)


def test_a_policy_that_there_is_not_is_told_with_those_that_there_are(refused):
    line = refused("run", "sglang", "--set", "scheduler.schedule_policy=lfp")

    assert "scheduler.schedule_policy" in line
    assert "did you mean 'lpm'?" in line


def test_a_prompt_that_leaves_no_room_for_an_output_is_rejected():
    record = serve(workload((0.0, 98, 1)), Sglang(), num_gpu_blocks=100, max_model_len=100, **ONE)

    assert record.requests["outcome"].tolist() == [Outcome.REJECTED]
    assert "at most 97 leave room for an output" in record.reasons[1]


def test_ignoring_eos_counts_in_full():
    """At the ratio of 0.7 both have room; a request that ignores EOS is reckoned with all that it asks for."""
    requests = workload((0.0, 10, 100), (0.05, 10, 100))
    for ignores, beside in ((False, True), (True, False)):
        told = replace(requests, asked=Asked(requests.output_tokens, np.array([ignores] * 2)))
        options = {"num_gpu_blocks": 205, "prefix_caching": True, **ONE}
        _, record = decisions(told, Sglang(), **options)
        assert (record.requests["first_scheduled_s"][1] < record.requests["end_s"][0]) == beside


def overlap_of(scenario, *changes):
    return make_instances(load_scenario(scenario, changes))[0].async_scheduling


def test_the_overlap_schedule_is_on_unless_a_scenario_says_otherwise():
    assert overlap_of("sglang")
    assert overlap_of("quickstart", "scheduler.name=sglang")
    assert not overlap_of("sglang", "scheduler.async_scheduling=false")
    assert not overlap_of("quickstart")


def test_overlapped_an_end_of_sequence_is_cached_where_a_token_was_computed_after_it():
    """Synchronous: prompt and output but the last token. Overlapped: the end of the sequence too, one token in vain."""
    requests = asked(workload((0.0, 20, 10), (100.0, 20, 10)), 60)
    for overlap, cached in ((False, 29), (True, 30)):
        spec = InstanceSpec(Sglang(), LinearSteps(), 1000, 1000, 1, True, async_scheduling=overlap)
        cluster = build_cluster(requests, [spec], RoundRobin(), np.random.default_rng(0))
        cluster.run(50.0)
        assert cluster.instances[0].states.memory.idle_blocks == cached


@pytest.mark.parametrize(
    ("gib", "gpus", "reserved_mib"),
    [(79.1, 1, 512 + 12288 + 512 + 128), (44.5, 4, 512 + 6144 + 320 + 512), (180, 8, 27136)],
)
def test_memory_for_weights_and_kv_is_what_sglang_leaves_them(gib, gpus, reserved_mib):
    """Sums by hand: 512, 1.5 a token of a chunk (8192, 4096, 16384), 2 a sequence of the largest graph, 128 a GPU."""
    mib = gib * 1024
    assert Sglang().mem_fraction_static(int(gib * 2**30), gpus) == pytest.approx((mib - reserved_mib) / mib, abs=6e-4)


def test_an_engine_of_sglang_has_its_share_of_the_memory():
    """H100: 83.4 % of 79.1 GiB hold the weights of 16.06 GB; the rest are tokens of 131,072 bytes."""
    blocks = make_instances(load_scenario("sglang", ["cluster.engine=sglang-0.5.23", "cluster.gpu=h100"]))[
        0
    ].num_gpu_blocks
    given = make_instances(
        load_scenario("sglang", ["cluster.gpu=h100", "cluster.mem_fraction_static=0.834", "cluster.block_size=1"])
    )
    assert blocks == given[0].num_gpu_blocks == pytest.approx((0.834 * 84_942_643_200 - 16.06e9) / 131_072, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["cluster.gpu_memory_utilization=0.8"], "mem_fraction_static .SGLang's. and gpu_memory_utilization .vLLM's."),
        (["scheduler={name='chunked_prefill'}"], "mem_fraction_static = auto: SGLang derives it, and the scheduler is"),
    ],
)
def test_a_share_that_is_another_engines_is_refused(changes, says):
    with pytest.raises(InputError, match=says):
        make_instances(load_scenario("quickstart", ["cluster.mem_fraction_static=auto", *changes]))
