"""Classes of requests: how they are chosen, that they move nothing else, and a score for each."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.reports.tables.run_tables import show_run
from llmsim.scenario import load_scenario
from llmsim.workload import classes
from places import SCENARIOS

SMALL = ["workload.requests=300", "workload.arrivals.rate_per_s=4.0"]
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
    rest = {name: value for name, value in two.score.items() if name not in ("classes", "wall_s")}
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
    assert score["classes"]["batch"]["slo"]["bounds"] == {"ttft_s": None, "tbt_s": None, "tpot_s": None, "e2e_s": 100.0}
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
        ('[{name = "a", weight = 1.0}, {name = "b"}]', "each class needs a weight"),
        ('[{name = "a", weight = 1.0}, {name = "b", max_prompt_tokens = 5}]', "exclude each other"),
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
            [f"workload.classes={OWN}", "workload.prefixes={system_tokens=9}"],
            "lengths of classes exclude sessions and prefixes",
        ),
        (
            [f'workload={{trace="{SAMPLE}", classes=[{{name="a", weight=1.0, {LENGTHS}}}]}}'],
            "class 'a' has lengths, but those of requests are in the file",
        ),
    ],
)
def test_lengths_of_classes_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        load_scenario("quickstart", changes)
