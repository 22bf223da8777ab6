"""Search, rules, targets, costs and bottlenecks of plans, each on its own."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim import experiment
from llmsim.cluster import InstanceSpec
from llmsim.errors import InputError
from llmsim.experiment.run_scenario import asked_requests
from llmsim.latency.hardware import gpu_file
from llmsim.latency.host import Host
from llmsim.latency.sources.constant import Constant
from llmsim.metrics.score import Score
from llmsim.metrics.sections.attainment import Attainment
from llmsim.metrics.sections.latencies import Latencies
from llmsim.metrics.summary import Summary
from llmsim.record import Timelines
from llmsim.reports.plots.plan_plot import frontier, pareto_figure
from llmsim.scenario import Scenario, load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.slo import Slo
from llmsim.statistics.shares import Clusters
from llmsim.studies.plan import CARRIES, FAILS, UNDECIDED, Answer, Candidate, Evaluation, Evaluator, Rules, boundary
from llmsim.studies.plan.binding import binding_of
from llmsim.studies.plan.evaluate import long_enough
from llmsim.studies.plan.measured_runs import MeasuredPoint, measure
from llmsim.studies.plan.plan_question import read_plan
from llmsim.studies.plan.plan_rows import CandidateRow, EvaluationRow, LoadRow
from llmsim.studies.plan.plan_sentences import in_words
from llmsim.studies.plan.targets import Target, parse_target, value
from llmsim.testing import serve, workload


@given(threshold=st.integers(1, 70), start=st.integers(1, 64))
def test_the_boundary_is_found_with_few_looks(threshold, start):
    looked = []

    def holds(n):
        looked.append(n)
        return n >= threshold

    good, bad = boundary(
        holds,
        start,
        easier=lambda n: min(2 * n, 64) if n < 64 else None,
        harder=lambda n: n // 2 if n > 1 else None,
        between=lambda good, bad: (good + bad) // 2 if good - bad > 1 else None,
    )

    assert good == (threshold if threshold <= 64 else None)
    assert bad == (None if threshold == 1 else min(threshold - 1, 64))
    assert len(looked) == len(set(looked)) <= 13


CROWDED = """\
name = "crowded"
seed = 5
[workload]
requests = 80
arrivals = { process = "poisson", rate_per_s = 200.0 }
lengths = { source = "lognormal", prompt_mean_tokens = 200.0, output_mean_tokens = 20.0 }
[cluster]
latency = "roofline"
[patience.first_token]
mean_s = 0.5
[retries]
max_attempts = 3
[slo]
ttft_s = 0.2
tbt_s = 0.1
"""
RULES = Rules(confidence=0.95, least_seeds=4, most_seeds=16, first_requests=1000, most_requests=20_000)
TARGET = Target("slo.attainment", at_least=True, bound=0.99)


def missed(requests, share):
    """Independent misses: clusters of one."""
    events = round((1 - share) * requests)
    return Clusters(requests, events, events, min(events, 1))


def evaluated(answer_of, value_of=lambda seed: 1.0, targets=(TARGET,), rules=RULES):
    """Evaluate on runs whose answers and values are given; also return (requests, seed) of each run, in order."""
    asked = []

    def values(seed):
        return {target.metric: value_of(seed) for target in targets}

    def measure(runs):
        asked.extend(runs)
        return [
            MeasuredPoint(
                s,
                n,
                a := answer_of(n, s),
                "why",
                values(s) if a == "steady" else {},
                {"requests": n},
                {str(target): missed(n, value_of(s)) for target in targets if target.most_missing is not None},
            )
            for n, s in runs
        ]

    return Evaluator(rules, targets, measure)(4, 10.0, lambda n, seed: (n, seed)), asked


def test_an_attainment_near_one_has_an_interval_within_its_bounds_or_none():
    rare, often = [Clusters(1000, n, n, 1) for n in (0, 3, 2, 1)], [Clusters(1000, n, n, 1) for n in (9, 30, 20, 13)]
    for missed, bounded in [(rare, False), (often, True)]:
        values = np.array([1 - run.events / run.of for run in missed])
        found = TARGET.interval(values, missed)
        assert found.estimate == pytest.approx(values.mean())
        assert found.bounded == bounded
        if bounded:
            assert 0.96 < found.low < found.estimate < found.high < 0.995
    wild = np.array([1.0, 0.98, 1.0, 1.0])  # Student's interval ends above 1
    assert TARGET.interval(wild, []).high > 1 > TARGET.interval(wild, rare).estimate


def test_clear_cases_take_half_the_least_seeds_and_the_first_length():
    found, asked = evaluated(lambda n, s: "steady")

    assert (found.answer, found.probability) == (CARRIES, pytest.approx(1.0))
    assert asked == [(1000, 0), (1000, 1)]


def test_half_the_seeds_are_not_enough_where_they_leave_more_than_a_tenth_of_the_doubt():
    """98 % of 2,000 requests and of 4,000: P = 1 - exp(-2000 x 0.002) = 0.98, clear enough only with all four runs."""
    target = Target("slo.attainment", at_least=True, bound=0.998)
    found, asked = evaluated(lambda n, s: "steady", targets=(target,))

    assert found.answer == CARRIES
    assert found.probability == pytest.approx(1 - math.exp(-8), abs=1e-6)
    assert asked == [(1000, seed) for seed in range(4)]


def test_a_budget_ends_what_more_seeds_and_longer_runs_could_not_tell():
    """16 runs of 1,000 are within 20,000 requests; twice as many in all are not, of whatever length."""
    rules = Rules(0.95, 4, 16, first_requests=1000, most_requests=20_000, budget=20_000)
    found, asked = evaluated(lambda n, s: "steady", lambda seed: 0.99, rules=rules)

    assert found.answer == UNDECIDED
    assert {n: sum(1 for m, _ in asked if m == n) for n, _ in asked} == {1000: 16}


def test_runs_are_long_enough_together():
    """Lengths that ten runs lack and have to spare: what counts is the harmonic mean of their sample sizes."""
    spare = [MeasuredPoint(i, 1000, "steady", "", {"a": 1.0}, {}, lacks=0.8) for i in range(9)]

    assert long_enough([*spare, replace(spare[0], answer="too short", lacks=1.9)])
    assert not long_enough([*spare[:2], replace(spare[0], answer="too short", lacks=1.9)])
    assert not long_enough([*spare, replace(spare[0], answer="too short", lacks=3.0, values={})])


@pytest.mark.parametrize(
    ("times", "requests"),
    [(1.05, 1_250), (3.0, 3_450), (50.0, 8_000)],
)
def test_runs_that_are_too_short_say_how_long_the_next_ones_are(times, requests):
    short = MeasuredPoint(0, 1_000, "too short", "why", {}, {}, lacks=times)

    assert RULES.longer([short], 1_000) == requests
    assert RULES.longer([short], 17_000) == 20_000, "no longer than the longest"
    assert RULES.longer([short], 20_000) is None


def test_runs_in_which_all_requests_meet_are_no_surer_than_their_number():
    """100 % of 4,000 requests: at least 99.9 % with 1 - exp(-4) = 0.98; of 99.99 % they know next to nothing."""
    answers = {}
    for bound in (0.999, 0.9999):
        target = Target("slo.attainment", at_least=True, bound=bound)
        answers[bound], _ = evaluated(lambda n, s: "steady", targets=(target,), rules=Rules(0.95, 4, 4, 1000, 1000))

    assert answers[0.999].probability == pytest.approx(1 - math.exp(-4), abs=1e-6)
    assert answers[0.999].answer == CARRIES
    assert answers[0.9999].answer == UNDECIDED


def test_close_cases_take_more_seeds_then_longer_runs_and_are_told_as_undecided():
    found, asked = evaluated(lambda n, s: "steady", lambda seed: 0.99)

    assert found.answer == UNDECIDED
    assert 0.3 < found.probability < 0.5  # no more of them miss than may, and one more cluster would
    assert {n: sum(1 for m, _ in asked if m == n) for n, _ in asked} == {1000: 16, 4000: 16, 16_000: 16, 20_000: 16}


def test_runs_are_lengthened_until_they_are_steady():
    found, asked = evaluated(lambda n, s: "steady" if n >= 16_000 else "too short")

    assert found.answer == CARRIES
    assert asked[:3] == [(1000, 0), (4000, 0), (16_000, 0)]


@pytest.mark.parametrize("value_of", [lambda seed: 1.0, lambda seed: 0.0])
@pytest.mark.parametrize("answer", ["too short", "overloaded"])
def test_what_is_not_steady_never_meets_a_target(answer, value_of):
    found, _ = evaluated(lambda n, s: answer, value_of)

    assert found.answer == (FAILS if answer == "overloaded" else UNDECIDED)
    assert found.probability == (0.0 if answer == "overloaded" else None)
    assert found.mean("slo.attainment") is None


def test_a_single_overloaded_run_among_others_settles_nothing():
    found, _ = evaluated(lambda n, s: "overloaded" if s == 0 else "steady")

    assert (found.answer, found.probability) == (UNDECIDED, None)
    assert "disagree" in found.reason


def test_several_targets_together_are_as_probable_as_bonferroni_allows():
    """Each alone holds with 0.97 at most by the t distribution; together no more than 0.94 is sure."""
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 1, 4)
    draws = (draws - draws.mean()) / draws.std(ddof=1) * 2
    draws += 2.95  # 2.95 standard errors of 1 above 0: P = 0.97 with 3 degrees of freedom
    one, other = (Target(name, at_least=True, bound=0.0) for name in ("output_tokens_per_s", "requests_per_s"))
    few = Rules(0.95, 4, 4, 1000, 1000)
    alone, _ = evaluated(lambda n, s: "steady", lambda s: draws[s], (one,), few)
    both, _ = evaluated(lambda n, s: "steady", lambda s: draws[s], (one, other), few)

    assert (alone.answer, both.answer) == (CARRIES, UNDECIDED)
    assert alone.probability == pytest.approx(0.97, abs=0.001)
    assert both.probability == pytest.approx(2 * alone.probability - 1)


SLO = Slo(ttft_s=1.0)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("ttft_s.p99 <= 0.5", Target("ttft_s.p99", False, 0.5)),
        (" slo.attainment>=0.99 ", Target("slo.attainment", True, 0.99)),
        ("tbt_s.p99.9 <= 1e-1", Target("tbt_s.p99.9", False, 0.1)),
        ("slo.attainment_by_bound.ttft_s >= 0.9", Target("slo.attainment_by_bound.ttft_s", True, 0.9)),
    ],
)
def test_targets_are_read(text, target):
    assert parse_target(text, "", SLO) == target
    assert parse_target(str(target), "", SLO) == target


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ttft_s.p99 < 0.5", "expected a comparison such as"),
        ("ttft.p99 <= 0.5", "did you mean 'ttft_s.p99'?"),
        ("slo.atainment >= 1", "did you mean 'slo.attainment'?"),
        ("ttft_s.p100 <= 1", "ttft_s.mean or a percentile"),
        ("ttft_s.max <= 1", "ttft_s.mean or a percentile"),
        ("ttft_s.p99 <= nan", "no number"),
        ("ttft_s.p99 <= soon", "no number"),
        ("ttft_s.p99 <= -1", "below 0"),
        ("ttft_s.p99 >= 0.5", "less of it is better; expected ttft_s.p99 <= 0.5"),
        ("output_tokens_per_s <= 9", "more of it is better; expected output_tokens_per_s >= 9"),
        ("slo.attainment >= 99", "from 0 to 1, such as 0.99"),
        ("slo.attainment_by_bound.ttft_s >= 1.01", "from 0 to 1"),
        ("slo.attainment_by_bound.tbt_s >= 1", r"\[slo\] has no such bound"),
        ("forms.aegaeon_atainment >= 0.9", "did you mean 'forms.aegaeon_attainment'?"),
        ("forms.jitserve_tokens_per_s >= 9", r"\[slo\] bounds no time per token; give slo.tpot_s"),
        ("forms.slos_serve_holds >= 1", "holds of one run or not; expected the targets of plan --as slos-serve"),
        ("forms.andes_qoe <= 0.9", "more of it is better; expected forms.andes_qoe >= 0.9"),
        ("forms.normalised_latency_s >= 1", "less of it is better; expected forms.normalised_latency_s <= 1"),
        ("forms.fluidity_index >= 1", "at most 1, which no number of runs shows of others"),
    ],
)
def test_targets_that_are_none_are_told(text, said):
    with pytest.raises(InputError, match=f"^here: .*{said}"):
        parse_target(text, "here: ", SLO)


NOTHING = Score.of({})


def test_any_percentile_is_numpys_and_unreached_ones_are_infinite():
    came = np.zeros(5)
    tokens = [[1.0, 1.5], [2.0, 2.5], [3.0, 3.7], [4.0, 4.1], []]
    timelines = Timelines.from_token_times(came, tokens)
    scheduled_s = np.array([0.5, 1.5, 2.5, 3.5, np.nan])

    assert value("ttft_s.p70", NOTHING, timelines, scheduled_s) == 4.0
    assert value("ttft_s.p95", NOTHING, timelines, scheduled_s) == math.inf
    assert value("tbt_s.p95", NOTHING, timelines, scheduled_s) == pytest.approx(np.percentile([0.5, 0.5, 0.7, 0.1], 95))
    assert value("tpot_s.p20", NOTHING, timelines, scheduled_s) == pytest.approx(
        np.percentile([0.5, 0.5, 0.7, 0.1], 20)
    )
    assert value("queueing_s.p75", NOTHING, timelines, scheduled_s) == 3.5
    attained = Score.of({Attainment: Attainment(0.25, {}, None, None)})
    assert value("slo.attainment", attained, timelines, scheduled_s) == 0.25
    cut_short = Summary(1.0, 1.0, None, None, 1, 2)
    unreached = Score.of({Latencies: Latencies(cut_short, cut_short, cut_short, cut_short, None)})
    assert value("ttft_s.p99", unreached, timelines, scheduled_s) == math.inf


def test_a_percentile_that_is_not_reached_is_never_kept():
    assert Target("ttft_s.p99", False, 1e9).probability(np.array([0.1, math.inf, 0.1]), []) == (0.0, 0.0)


def steady(instances, rate_per_s, answer, probability, tokens_per_s=1000.0):
    values = {"output_tokens_per_s": tokens_per_s, "tpot_s.p50": 0.02}
    return Evaluation(
        instances, rate_per_s, answer, probability, "why", (MeasuredPoint(0, 500, "steady", "", values, {}),)
    )


def test_costs_by_hand():
    """3 instances of 2 GPUs at 2.50 USD: 15 USD an hour; 1,000 tokens/s are 3.6 million an hour."""
    scenario = Scenario()
    cluster = scenario.cluster.model_copy(update={"tensor_parallel_size": 2})
    candidate = Candidate(scenario.model_copy(update={"cluster": cluster}), 2.5)
    evaluation = steady(3, 10.0, CARRIES, 0.97)
    answer = Answer("instances", candidate, evaluation, None, (evaluation,), None)

    assert answer.usd_per_hour(evaluation) == 15.0
    assert answer.usd_per_million_tokens(evaluation) == pytest.approx(15 / 3.6)
    assert answer.user_tokens_per_s(evaluation) == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("find", "carries", "neighbour", "said"),
    [
        ("instances", (5, 130.0, CARRIES, 0.97), (4, 130.0, FAILS, 0.02), r"5 x a100-sxm4-80gb carry 130/s with "
         r"P\(slo.attainment >= 0.99\) = 0.970; P\(4 suffice\) = 0.020"),
        ("instances", (1, 2.0, CARRIES, 1.0), None, r"1 x a100-sxm4-80gb carries 2/s .* > 0.999; one is the least"),
        ("instances", (5, 130.0, CARRIES, 0.97), (4, 130.0, UNDECIDED, 0.6), r"P\(4 suffice\) = 0.600, whether 4 "
         r"suffice could not be told: why; raise plan.most_seeds$"),
        ("load", (4, 90.0, CARRIES, 0.96), (4, 92.0, UNDECIDED, None), r"whether they carry 92/s could not be told: "
         r"why; raise plan.most_requests$"),
        ("load", (1, 90.0, CARRIES, 0.96), (1, 92.0, UNDECIDED, None), r"whether it carries 92/s could not be told"),
        ("instances", (2, 90.0, CARRIES, 0.96), (1, 90.0, FAILS, 0.01), r"P\(1 suffices\) = 0.010"),
        ("load", (4, 90.0, CARRIES, 0.96), (4, 92.0, FAILS, 0.01), r"P\(92/s\) = 0.010"),
        ("instances", None, (256, 9.0, FAILS, 0.0), r"256 x .* do not carry 9/s, P < 0.001: why; plan.most_ins"),
        ("instances", None, (8, 9.0, UNDECIDED, None), r"whether 8 x .* carry 9/s could not be told: why"),
    ],
)  # fmt: skip
def test_answers_in_words(find, carries, neighbour, said):
    both = [None if one is None else steady(*one) for one in (carries, neighbour)]
    answer = Answer(find, Candidate(Scenario(), 1.0), *both, tuple(one for one in both if one), None)

    assert answer.settled == (carries is not None and (neighbour is None or neighbour[2] == FAILS))
    assert re.search(said, in_words(answer, (TARGET,)))


def test_what_binds_by_hand():
    """Steps of 10 ms, 1 ms for each prompt token, 2 ms of host a step: seats are full, then memory is."""
    latency = Host(Constant(step_s=0.008, prefill_token_s=0.001), step_s=0.002)
    requests = workload(*[(0.0, 10, 50)] * 4, (9.0, 10, 2))
    record = serve(requests, ChunkedPrefill(max_num_seqs=2), latency=latency, num_gpu_blocks=100)
    scheduler = ChunkedPrefill(max_num_seqs=2)
    busy = binding_of(record, [InstanceSpec(scheduler, latency, 100, 1000)])

    assert busy.prefill + busy.decode + busy.host == pytest.approx(1.0)
    # two rounds: a step with two prompts (30 ms), then 49 of 10 ms; at last a step with one prompt (20 ms)
    busy_s = 2 * (0.030 + 49 * 0.010) + 0.020
    assert busy.prefill == pytest.approx((2 * 0.030 + 0.020) / busy_s)
    assert busy.host == pytest.approx(2 * 49 * 0.002 / busy_s)
    assert busy.seats_full > 0.95
    assert busy.name == "seats"
    assert str(busy).startswith("max_num_seqs (prefill takes 8 % of the time, decoding 74 %")
    assert binding_of(record, [InstanceSpec(scheduler, latency, 2, 1000)]).name == "memory"


def test_the_frontier_is_what_nothing_beats_in_both():
    points = [(10.0, 1.0), (20.0, 2.0), (15.0, 2.5), (20.0, 3.0), (5.0, 1.0)]

    assert frontier(points) == [(10.0, 1.0), (20.0, 2.0)]
    assert frontier([]) == []


H100 = CandidateRow("h100", 1, "fcfs")


def tried(rate_per_s=9.0, instances=1, answer="carries", usd=1.0, speed=40.0, candidate=H100):
    """A row of what a plan looked at; `usd` are of a million tokens, `speed` tokens per second."""
    load = LoadRow("rate_per_s", rate_per_s)
    return EvaluationRow(candidate, instances, load, answer, 1.0, "", 2, 100, 4.0, usd, speed)


@pytest.mark.parametrize(
    ("change", "hardware"),
    [
        ("cluster.pipeline_parallel_size=4", "h100-sxm-80gb PP4"),
        ("cluster.tensor_parallel_size=2", "h100-sxm-80gb TP2"),
        ("cluster.instances=3", "h100-sxm-80gb"),
    ],
)
def test_a_row_tells_stages_apart(change, hardware):
    """A pipeline of four GPUs is not called one GPU beside the price of four."""
    scenario = load_scenario("quickstart", ["cluster.gpu=h100", change])
    row = CandidateRow.of(Candidate(scenario, 1.0))

    assert row.hardware == hardware
    assert CandidateRow.from_dict(row.to_dict()) == row


def test_the_picture_has_a_point_for_each_steady_evaluation():
    two = CandidateRow("h100", 2, "fcfs")
    rows = [
        tried(instances=3, candidate=two),
        tried(instances=4, answer="fails", usd=2.0, speed=50.0, candidate=two),
        tried(instances=5, answer="fails", usd=None, speed=None, candidate=two),
    ]
    (axes,) = pareto_figure(rows, find="instances").axes

    assert "numbers: instances" in axes.get_title(loc="left")
    assert {text.get_text() for text in axes.texts} == {"3", "4"}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["h100 TP2, fcfs", "nothing better in both"]


@pytest.mark.parametrize(
    ("find", "answers", "said"),
    [
        ("load", ["carries", "carries", "fails", "fails"], {"1/s", "2/s", "3/s"}),
        ("instances", ["fails", "fails", "carries", "carries"], {"2", "3", "4"}),
    ],
)
def test_labels_are_of_what_carries_and_of_its_neighbour_that_does_not(find, answers, said):
    rows = [tried(n, n, answer, 30.0**n, 10.0 * n) for n, answer in enumerate(answers, start=1)]
    (axes,) = pareto_figure(rows, find=find).axes

    assert {text.get_text() for text in axes.texts} == said
    assert axes.get_yscale() == "log"


def test_labels_of_neighbours_do_not_pile_up():
    speeds = {1.0: 90.0, 2.0: 50.0, 2.1: 49.5}
    rows = [tried(rate, usd=1 / rate, speed=speed) for rate, speed in speeds.items()]
    (axes,) = pareto_figure(rows, find="load").axes

    assert {text.get_text() for text in axes.texts} == {"2.1/s", "1/s"}


@pytest.mark.parametrize("unit", [None, "(1P + 3D) h100"])
def test_a_row_is_read_as_it_was_written(unit):
    row = tried(instances=3, candidate=CandidateRow("h100", 2, "fcfs", unit))

    assert EvaluationRow.from_dict(json.loads(json.dumps(row.to_dict()))) == row
    assert row.candidate.name == f"{unit or 'h100 TP2'}, fcfs"


def test_two_candidates_at_one_point_are_both_seen():
    """Two that cost the same and serve alike: the one drawn first has the larger marker, and labels stand apart."""
    rows = [tried(instances=6, candidate=CandidateRow("h100", 1, name)) for name in ("fcfs", "static")]
    (axes,) = pareto_figure(rows, find="instances").axes
    under, over = [line.get_markersize() for line in axes.lines if list(line.get_xdata()) == [40.0]][:2]

    assert under > over
    assert len({text.get_position() for text in axes.texts}) == 2


def test_what_binds_is_told_of_the_cluster_that_is_too_small_and_else_of_the_answers():
    carries, fails = steady(5, 130.0, CARRIES, 0.97), steady(4, 130.0, FAILS, 0.02)
    open_ = steady(4, 130.0, UNDECIDED, 0.6)
    candidate = Candidate(Scenario(), 1.0)

    def of(one, other):
        return Answer("instances", candidate, one, other, (), None).bound

    assert of(carries, fails) is fails
    assert of(carries, open_) is of(carries, None) is carries
    assert of(None, open_) is None


def test_a_gpu_of_ones_own_is_found_by_its_file_and_priced_by_any_of_its_names(tmp_path):
    text = gpu_file("h100").read_text().replace('name = "h100-sxm-80gb"', 'name = "mine"')
    (tmp_path / "mine.toml").write_text(text)
    file = str(tmp_path / "mine.toml")
    gpus = f'plan.gpus=["{file}","h100"]'

    def prices(**given: float) -> dict[str, float]:
        table = ", ".join(f'"{name}" = {price}' for name, price in given.items())
        question = read_plan("plan_h100", ["cluster.latency=roofline", gpus, f"plan.price_usd_per_hour={{{table}}}"])
        return {candidate.hardware: candidate.price_usd_per_hour for candidate in question.candidates}

    assert prices() == {"mine": 3.5, "h100-sxm-80gb": 3.5}
    assert prices(h100=2.0, mine=1.0) == {"mine": 1.0, "h100-sxm-80gb": 2.0}
    assert prices(**{file: 1.5, "h100-sxm-80gb": 2.5}) == {"mine": 1.5, "h100-sxm-80gb": 2.5}
    with pytest.raises(InputError, match="no candidate has h200"):
        prices(h200=1.0)


def test_a_request_that_is_tried_again_counts_once_in_any_percentile(tmp_path):
    path = tmp_path / "little.toml"
    path.write_text(CROWDED)
    scenario, target = load_scenario(path), Target("ttft_s.p70", at_least=False, bound=9.0)
    result = experiment.run(scenario)
    window = experiment.make_window(scenario)
    asked = asked_requests(result, window)
    assert len(result.delivered) > len(asked.counted) == 80
    found = measure(scenario, [target], finite=True).values["ttft_s.p70"]
    assert found == value("ttft_s.p70", result.score, asked.counted, asked.first_scheduled_s)
    attempts = value("ttft_s.p70", result.score, result.delivered, result.record.requests["first_scheduled_s"])
    assert found != attempts
