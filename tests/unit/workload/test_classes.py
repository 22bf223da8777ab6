"""Classes of requests: how they are chosen, that they move nothing else, and a score for each."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

from llmsim import experiment
from llmsim import score as score_of
from llmsim.errors import InputError
from llmsim.reports.tables.run_tables import show_run
from llmsim.scenario import load_scenario
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.slo import Slo
from llmsim.workload import classes
from llmsim.workload.streams import streams
from places import SCENARIOS

SMALL = ["workload.requests=300", "workload.arrivals.rate_per_s=4.0"]
POISSON = 'arrivals = {process = "poisson", rate_per_s = 2.0}'
TWO = """[{name = "chat", weight = 1.0}, {name = "batch", weight = 3.0, priority = 1, slo = {e2e_s = 100.0}}]"""


def scored(*changes):
    return experiment.run(load_scenario("quickstart", [*SMALL, *changes]))


def test_weights_are_shares():
    drawn = classes.draw(np.random.default_rng(0), 100_000, [1.0, 3.0, 4.0])

    assert np.bincount(drawn) / 100_000 == pytest.approx([0.125, 0.375, 0.5], abs=0.005)


def test_prompts_tell_classes_by_hand():
    assert classes.by_prompt(np.array([1, 100, 101, 500, 501, 9000]), [100, 500]).tolist() == [0, 0, 1, 1, 2, 2]


def test_classes_move_nothing_else():
    """Common random numbers: the same requests and times, and one column more."""
    drawing = ["cluster.instances=3", "cluster.router=random", "patience.first_token.mean_s=1.0"]
    without, two = scored(*drawing), scored(*drawing, f"workload.classes={TWO}")

    assert set(two.record.requests) - set(without.record.requests) == {"class"}
    for name, column in without.record.requests.items():
        assert np.array_equal(column, two.record.requests[name], equal_nan=True), name
    assert "classes" not in without.score
    rest = {
        name: value for name, value in two.score.items() if name not in ("classes", "together", "fairness", "wall_s")
    }
    assert rest == {name: value for name, value in without.score.items() if name != "wall_s"}


def test_classes_add_up_to_the_whole():
    """Counts and rates of the classes: each over the same window, so that they sum."""
    score = scored(f"workload.classes={TWO}", "scheduler.name=priority", "scheduler.max_num_seqs=24").score
    chat, batch = score["classes"]["chat"], score["classes"]["batch"]

    for name in ("output_tokens", "output_tokens_per_s", "requests_per_s", "smooth_goodput_tokens_per_s"):
        assert chat[name] + batch[name] == pytest.approx(score[name]), name
    for outcome, count in score["requests"].items():
        assert chat["requests"][outcome] + batch["requests"][outcome] == count
    n = {name: of["requests"]["total"] for name, of in score["classes"].items()}
    means = sum(n[name] * of["ttft_s"]["mean"] for name, of in score["classes"].items()) / sum(n.values())
    assert means == pytest.approx(score["ttft_s"]["mean"])
    assert chat["ttft_s"]["mean"] < 0.1 * batch["ttft_s"]["mean"]  # that is what priority is for


def test_a_class_is_judged_by_its_own_slo():
    result = scored(f"workload.classes={TWO}")
    requests, score = result.record.requests, result.score
    batch = requests["class"] == 1
    in_time = (requests["end_s"] - requests["arrival_s"])[batch] <= 100.0

    assert score["classes"]["batch"]["slo"]["attainment"] == pytest.approx(in_time.mean())
    bounds = score["classes"]["batch"]["slo"]["bounds"]
    assert {name: bound for name, bound in bounds.items() if bound is not None} == {"e2e_s": 100.0}
    assert score["classes"]["chat"]["slo"]["bounds"]["ttft_s"] == 1.0


def test_percentiles_withheld_of_the_whole_are_withheld_of_each_class():
    result = scored(f"workload.classes={TWO}", "workload.requests=40")

    assert result.score["classes"]["chat"]["ttft_s"]["p99"] is not None
    assert result.reported()["classes"]["chat"]["ttft_s"]["p99"] is None
    assert result.reported(force=True)["classes"]["chat"]["ttft_s"]["p99"] is not None


def test_percentiles_of_classes_are_marked_as_those_of_the_whole(tmp_path, capsys):
    result = scored(f"workload.classes={TWO}", "workload.requests=40")
    show_run(result, None, force=True)
    row = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["chat"])

    assert row.count("*") == 2  # TTFT p99, TBT p99


def test_a_result_knows_its_classes(tmp_path, capsys):
    result = scored(f"workload.classes={TWO}")
    experiment.write(result, tmp_path)
    show_run(result, None)
    printed = capsys.readouterr().out
    again = experiment.read_record(tmp_path)

    assert "chat" in printed
    assert "SLO of its own: batch: E2E ≤ 100 s" in printed
    assert again.requests["class"].tolist() == result.record.requests["class"].tolist()
    kept = json.loads((tmp_path / "score.json").read_text())
    assert kept["classes"]["batch"]["requests"] == result.score["classes"]["batch"]["requests"]


def test_classes_of_a_trace(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0,50,3\n1,500,3\n2,51,3\n")
    rule = '[{name = "short", max_prompt_tokens = 50}, {name = "long", priority = 2}]'
    result = experiment.run(load_scenario("quickstart", [f"workload.trace={trace}", f"workload.classes={rule}"]))

    assert result.record.requests["class"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ('[{name = "a", weight = 1.0}, {name = "a", weight = 1.0}]', "two classes are called 'a'"),
        ('[{name = "a", weight = 1.0}, {name = "b"}]', "class 'b' has no weight, and class 'a' has one; each class"),
        (
            '[{name = "a", weight = 1.0}, {name = "b", max_prompt_tokens = 5}]',
            "weight and max_prompt_tokens exclude each other",
        ),
        ('[{name = "a", weight = 1.0, slo = {ttft_s = 2.0, e2e_s = 1.0}}]', "ttft_s = 2 is above e2e_s = 1"),
        ('[{name = "a", weight = 1.0, slo = {}}]', "no bound"),
        ('[{name = "a", weight = 1.0, user = {alpah = 1.0}}]', "did you mean 'alpha'"),
        (f'[{{name = "a", {POISSON}}}, {{name = "b", weight = 1.0}}]', "weight and arrivals exclude each other"),
        (f'[{{name = "a", {POISSON}}}, {{name = "b"}}]', "arrivals are of some classes only"),
        (f'[{{name = "a", {POISSON}}}]', "arrivals of classes take the place of workload.arrivals"),
        ('[{name = "a", arrivals = {process = "closed", concurrency = 3}}]', "closed arrivals are of the whole"),
        ('[{name = "a", max_prompt_tokens = 9}, {name = "b", max_prompt_tokens = 5}]', "must grow"),
        ('[{name = "a", weigth = 1.0}]', "did you mean 'weight'"),
        ('[{name = "a", weight = -1.0}]', "weight"),
    ],
)
def test_bad_classes_are_told_in_a_line(given, says):
    with pytest.raises(InputError, match=says) as error:
        load_scenario("quickstart", [f"workload.classes={given}"])

    assert "\n" not in str(error.value)


OWN = """[{name = "chat", weight = 4.0, lengths = {source = "fixed", prompt_tokens = 200, output_tokens = 9}}, \
{name = "doc", weight = 1.0}]"""


def test_a_class_with_lengths_has_them_and_the_others_keep_theirs():
    plain, own = scored(), scored(f"workload.classes={OWN}")
    chat = own.record.requests["class"] == 0

    assert 0.7 < chat.mean() < 0.9
    assert set(own.record.requests["prompt_tokens"][chat]) == {200}
    assert set(own.record.requests["output_tokens"][chat]) == {9}
    for name in ("prompt_tokens", "output_tokens", "arrival_s"):
        mine = ~chat if name != "arrival_s" else slice(None)
        assert own.record.requests[name][mine].tolist() == plain.record.requests[name][mine].tolist()


SAMPLE = SCENARIOS / "traces" / "sample_conv.csv"
LENGTHS = 'lengths = {source = "fixed", prompt_tokens = 200, output_tokens = 9}'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            [f'workload.classes=[{{name="a", max_prompt_tokens=9, {LENGTHS}}}, {{name="b"}}]'],
            "lengths of classes need weights",
        ),
        (
            [f"workload.classes={OWN}", "workload.sessions={think={mean_s=1.0}}"],
            "lengths of classes exclude sessions",
        ),
        (
            [f'workload={{trace="{SAMPLE}", classes=[{{name="a", weight=1.0, {LENGTHS}}}]}}'],
            "class 'a' has lengths, but those of requests are in the file",
        ),
        (
            [
                'workload.classes=[{name="a", weight=1.0, prefixes={system_tokens=9}}]',
                "workload.prefixes={system_tokens=9}",
            ],
            "every class has prefixes of its own",
        ),
    ],
)
def test_lengths_of_classes_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        load_scenario("quickstart", changes)


CHAT_AND_DOCUMENTS = """[\
{name = "chat", arrivals = {process = "poisson", rate_per_s = 3.0}, prefixes = {system_tokens = 100}, \
lengths = {source = "fixed", prompt_tokens = 200, output_tokens = 200}, slo = {ttft_s = 1.0, tpot_s = 0.05}}, \
{name = "doc", arrivals = {process = "constant", rate_per_s = 1.0}, tenant = "office", \
slo = {e2e_s = 30.0}, user = {tokens_per_s = 20.0, alpha = 1.0}}]"""
MIXED = ["workload.requests=300", "workload.arrivals=null", f"workload.classes={CHAT_AND_DOCUMENTS}"]


def test_chat_and_documents_have_arrivals_lengths_and_prefixes_of_their_own():
    """Case 24: each class comes at its own times, and its requests are as long as it says."""
    result = experiment.run(load_scenario("quickstart", MIXED))
    requests = result.record.requests
    doc = requests["class"] == 1

    assert np.allclose(np.diff(requests["arrival_s"][doc]), 1.0)
    assert 0.2 < doc.mean() < 0.3
    assert set(requests["prompt_tokens"][~doc]) == {300}
    assert len(set(requests["prompt_tokens"][doc])) > 20
    assert (np.diff(requests["arrival_s"]) >= 0).all()


def test_prefixes_of_a_class_are_shared_within_it_alone():
    both = MIXED[2].replace('tenant = "office"', "prefixes = {system_tokens = 50, users = 3, user_tokens = 8}")
    scenario = load_scenario("quickstart", [*MIXED[:2], both])
    made = experiment.make_workload(scenario, streams(0))
    parts = [made.prefixes.of(id) for id in range(len(made))]
    first = {
        number: {int(parts[id][0][0]) for id in np.flatnonzero(made.classes.of_request == number)} for number in (0, 1)
    }
    ends = {
        number: {tuple(parts[id][1]) for id in np.flatnonzero(made.classes.of_request == number)} for number in (0, 1)
    }

    assert [len(names) for names in first.values()] == [1, 1]
    assert first[0] != first[1]
    assert ends == {0: {(100,)}, 1: {(50, 58)}}
    assert len(set(made.user[made.classes.of_request == 1])) == 3
    assert not set(made.user[made.classes.of_request == 0]) & set(made.user[made.classes.of_request == 1])


def test_a_class_without_prefixes_beside_one_that_has_them():
    made = experiment.make_workload(load_scenario("quickstart", MIXED), streams(0))
    counts = np.diff(made.prefixes.start)

    assert set(counts[made.classes.of_request == 0]) == {1}
    assert set(counts[made.classes.of_request == 1]) == {0}


def test_policies_see_the_slo_and_the_tenant_of_a_class():
    seen = {}

    @dataclass(frozen=True)
    class Sees(ChunkedPrefill):
        def schedule(self, view):
            seen.update({r.id: (r.tenant, r.slo) for r in view.waiting})
            return super().schedule(view)

    result = experiment.run(load_scenario("quickstart", MIXED), scheduler=Sees)
    of = result.record.requests["class"]

    assert len(seen) == 300
    assert all(
        seen[id] == (("office", Slo(e2e_s=30.0)) if of[id] else ("chat", Slo(ttft_s=1.0, tpot_s=0.05))) for id in seen
    )


def test_without_classes_policies_see_the_slo_of_the_scenario():
    made = experiment.make_workload(load_scenario("quickstart", SMALL), streams(0))

    assert made.slo == Slo(ttft_s=1.0, tbt_s=0.2)


def test_all_together_by_what_each_class_asks_for():
    """By hand: sums over the classes, each measured by itself."""
    result = experiment.run(load_scenario("quickstart", [*MIXED[:2], MIXED[2].replace("e2e_s = 30", "e2e_s = 3")]))
    score, classes_of = result.score, result.score["classes"]
    n = {name: of["requests"]["total"] for name, of in classes_of.items()}
    met = sum(n[name] * of["slo"]["attainment"] for name, of in classes_of.items())

    assert score["together"]["attainment"] == pytest.approx(met / 300)
    for rate in ("goodput_tokens_per_s", "goodput_requests_per_s"):
        assert score["together"][rate] == pytest.approx(sum(of["slo"][rate] for of in classes_of.values()))
    assert score["together"]["smooth_goodput_tokens_per_s"] == pytest.approx(
        sum(of["smooth_goodput_tokens_per_s"] for of in classes_of.values())
    )
    assert score["together"]["attainment"] != score["slo"]["attainment"]
    assert score["together"]["smooth_goodput_tokens_per_s"] != pytest.approx(score["smooth_goodput_tokens_per_s"])


def test_a_scenario_with_arrivals_of_classes_is_kept_and_read_back(tmp_path):
    result = experiment.run(load_scenario("quickstart", MIXED))
    experiment.write(result, tmp_path)

    assert experiment.read_scenario(tmp_path) == result.scenario
    assert load_scenario(tmp_path / "scenario.json") == result.scenario
    assert score_of(tmp_path).score["together"] == result.score["together"]
