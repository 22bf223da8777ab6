from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.metrics import catalogue
from llmsim.metrics.sections.reader import Reading
from llmsim.metrics.smooth_goodput import User, smooth_goodput_tokens_per_s
from llmsim.reports.format import interval_text
from llmsim.reports.plots.comparison_plots import differences_figure
from llmsim.reports.tables.compare_tables import relative_text
from llmsim.request import Outcome
from llmsim.scenario import load_scenario
from llmsim.slo import Slo
from llmsim.statistics import Interval
from llmsim.studies.compare import (
    COMPARISON_FILE,
    Comparison,
    Difference,
    Pair,
    as_json,
    compare,
    known_metrics,
    parse_condition,
    read_sides,
    write,
)
from llmsim.studies.compare.conditions import check_known, judge
from llmsim.studies.compare.differences import metrics
from llmsim.studies.compare.request_pairs import groups, most_changed
from llmsim.studies.compare.side_runs import charged_until, run_of
from llmsim.studies.processes import process_pool

FILE = """\
name = "little"
seed = 5
[workload]
requests = 80
arrivals = { process = "poisson", rate_per_s = 8.0 }
lengths = { source = "lognormal", prompt_mean_tokens = 200.0, output_mean_tokens = 20.0 }
[cluster]
latency = "roofline"
[slo]
ttft_s = 0.2
tbt_s = 0.1
"""
CROWDED = ["workload.arrivals.rate_per_s=200", "abandonment.policy=missed", "slo.ttft_s=0.05"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "little.toml"
    path.write_text(FILE)
    return path


def schedulers(file: Path, *changes: str, seeds: int = 2) -> Comparison:
    sides = read_sides([file], ["chunked_prefill", "static"], list(changes))
    return compare(sides, seeds=seeds)


# --- the same requests ----------------------------------------------------------------------------------------------


def test_a_request_that_is_tried_again_counts_once_as_in_a_score(file):
    crowded = load_scenario(file, [*CROWDED[:1], "patience.first_token.mean_s=0.05", "retries.max_attempts=3"])
    result = experiment.run(crowded)
    kept = run_of(result)
    assert len(result.delivered) > len(kept.delivered) == len(kept.first_scheduled_s) == crowded.workload.requests
    again = charged_until(kept, kept.end_s).score.section(Reading)
    assert again == result.score.section(Reading)


@pytest.mark.parametrize(
    ("line", "other", "key"),
    [
        ("requests = 80", "requests = 81", "workload.requests"),
        ("seed = 5", "seed = 6", "seed"),
        ("rate_per_s = 8.0", "rate_per_s = 9.0", "workload.arrivals.rate_per_s"),
        ("ttft_s = 0.2", "ttft_s = 0.3", "slo.ttft_s"),
        ("[slo]", "[clients]\nmeasure_from = 'sent'\n[slo]", "clients.measure_from"),
        ("[slo]", "[patience]\nfirst_token = { mean_s = 3.0 }\n[slo]", "patience.first_token"),
        ("[slo]", "[window]\nstart_s = 3.0\n[slo]", "window.start_s"),
    ],
)
def test_sides_must_ask_for_the_same_requests(file: Path, line: str, other: str, key: str) -> None:
    changed = file.with_name("changed.toml")
    changed.write_text(FILE.replace(line, other))
    with pytest.raises(InputError) as caught:
        read_sides([file, changed])
    said = str(caught.value)

    assert "\n" not in said
    assert f"{key}: " in said
    assert f"--allow {key}" in said
    assert str(changed) in said
    assert len(read_sides([file, changed], allowed=[key, key.rpartition(".")[0] or key])) == 2


def test_differences_of_the_server_are_what_a_comparison_is_for(file: Path) -> None:
    changed = file.with_name("changed.toml")
    changed.write_text(FILE.replace("[slo]", "instances = 2\n[clients]\nmax_in_flight = 3\n[slo]"))

    assert [side.label for side in read_sides([file, changed])] == ["A", "B"]


def test_a_key_that_may_differ_anyway_is_refused_with_the_nearest_right_one(file: Path) -> None:
    with pytest.raises(InputError, match=r"--allow workload\.request: .*did you mean 'workload\.requests'"):
        read_sides([file, file], allowed=["workload.request"])


@pytest.mark.parametrize(
    ("count", "names"), [(1, []), (1, ["fcfs"]), (27, []), (2, ["fcfs", "static"]), (1, ["fcfs"] * 27)]
)
def test_there_must_be_something_to_compare(file: Path, count: int, names: list[str]) -> None:
    with pytest.raises(InputError, match=r"expected 2 to 26|--schedulers goes with one"):
        read_sides([file] * count, names)


def test_sides_are_checked_before_anything_runs(file: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'static'"):
        read_sides([file], ["fcfs", "sttic"])


def test_a_scheduler_may_come_from_a_file(file: Path) -> None:
    policy = file.with_name("mine.py")
    policy.write_text("from llmsim.schedulers.fcfs import Fcfs\nclass Mine(Fcfs):\n    pass\n")
    sides = read_sides([file], ["fcfs", str(policy)])
    one = compare(sides).others[0]

    assert one.side.name == "mine"
    assert (one.requests["e2e_change_s"] == 0).all()


def test_other_requests_allow_no_word_on_single_requests(file: Path) -> None:
    changed = file.with_name("changed.toml")
    changed.write_text(FILE.replace("rate_per_s = 8.0", "rate_per_s = 9.0"))
    compared = compare(read_sides([file, changed], allowed=["workload.arrivals"]), seeds=2)

    assert not compared.others[0].groups
    assert not compared.others[0].requests
    assert "other requests" in compared.notes[0]
    assert compared.others[0].differences["ttft_s.mean"].covers == "seeds"


def test_seeds_that_change_nothing_do_not_feign_certainty(file: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    rows = [f"{0.1 * i},{100 + i},{10 + i % 7}" for i in range(40)]
    trace.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]) + "\n")
    compared = schedulers(file, f"workload.trace={trace}", seeds=4)

    assert compared.seeds == (5,)
    assert compared.others[0].differences["e2e_s.mean"].covers != "seeds"
    assert "4 seeds give the same run" in compared.notes[-1]
    drawn = schedulers(file, f"workload.trace={trace}", "patience.first_token.mean_s=0.2", seeds=3)
    assert drawn.seeds == (5, 6, 7)
    assert "the same requests" in drawn.notes[0]


# --- the numbers ----------------------------------------------------------------------------------------------------


def test_all_metrics_are_known_beforehand(file: Path) -> None:
    for changes in ([], CROWDED, ["clients.max_in_flight=4", "slo.e2e_s=3"], ["cluster.prefix_caching=true"]):
        compared = schedulers(file, *changes, seeds=1)
        names = list(compared.others[0].differences)
        assert sorted(names) == sorted(known_metrics(compared.first.scenario))
        assert set(names) <= set(catalogue.compared())


def test_every_metric_has_a_direction() -> None:
    names = ("requests.finished", "requests.abandoned", "ttft_s.p99", "slo.attainment_by_bound.tbt_s")

    assert [catalogue.kpi_of(name).better for name in names] == [1, -1, -1, 1]


def test_readers_of_all_runs_are_charged_until_one_end(file: Path) -> None:
    compared = schedulers(file, *CROWDED, seeds=2)
    sides = list(compared.sides)
    ends_s = [float(run.delivered.end_s.max()) for _, runs in sides for run in runs]

    assert len(set(ends_s)) == len(ends_s), "the runs must end apart, or nothing is tested"
    for _, runs in sides:
        for run in runs:
            assert (run.delivered.outcome == Outcome.ABANDONED).any()
            assert run.end_s == max(ends_s)
            by_hand, alone = (
                smooth_goodput_tokens_per_s(run.delivered, User(), end_s=end_s)
                for end_s in (max(ends_s), float(run.delivered.end_s.max()))
            )
            assert run.score["smooth_goodput_tokens_per_s"] == pytest.approx(by_hand)
            if float(run.delivered.end_s.max()) < max(ends_s):
                assert by_hand < alone
    assert any(f"charged until {max(ends_s):,.0f} s" in note for note in compared.notes)


def test_a_request_that_both_sides_drop_unserved_gains_and_loses_nothing(file: Path) -> None:
    compared = schedulers(file, *CROWDED)
    one = compared.others[0]
    for pair, mine, theirs in zip(one.pairs, compared.runs, one.runs, strict=True):
        both = np.array([all(len(r.delivered.token_times_s(i)) == 0 for r in (mine, theirs)) for i in range(80)])
        assert both.any()
        assert (pair.benefit_change_tokens[both] == 0).all()


def test_the_result_does_not_depend_on_the_processes(file: Path) -> None:
    sides = read_sides([file], ["chunked_prefill", "static"])
    told: list[tuple[int, int]] = []
    here = as_json(compare(sides, seeds=2))
    there = as_json(
        compare(sides, seeds=2, executors=partial(process_pool, 2), progress=lambda *said: told.append(said))
    )

    for side in (*here["sides"], *there["sides"]):
        assert side["runs"]
    assert here == there
    assert told == [(80 * i, 320) for i in (1, 2, 3, 4)]


def test_progress_counts_the_requests_of_all_runs(file: Path) -> None:
    told: list[tuple[int, int]] = []
    compare(read_sides([file, file]), seeds=2, progress=lambda *said: told.append(said))

    assert told == sorted(told)
    assert {of for _, of in told} == {320}


# --- who pays -------------------------------------------------------------------------------------------------------


def a_pair(change_s: list[float], first: list[Outcome] | None = None, other: list[Outcome] | None = None) -> Pair:
    n = len(change_s)
    done = [Outcome.FINISHED] * n
    outcomes = tuple(np.array(one or done, dtype=np.int8) for one in (first, other))
    e2e_s = np.where(outcomes[0] == Outcome.FINISHED, 10.0, np.nan)
    other_s = np.where(outcomes[1] == Outcome.FINISHED, 10.0 + np.array(change_s), np.nan)
    return Pair(
        seed=0,
        request=np.arange(n) + 100,
        arrival_s=np.arange(n, dtype=float),
        prompt_tokens=np.arange(n) + 1,
        output_tokens=np.full(n, 7),
        outcome=(outcomes[0], outcomes[1]),
        e2e_s=(e2e_s, other_s),
        ttft_change_s=np.zeros(n),
        e2e_change_s=other_s - e2e_s,
        benefit_change_tokens=np.zeros(n),
    )


def test_which_requests_pay_and_which_gain() -> None:
    done, gone = Outcome.FINISHED, Outcome.ABANDONED
    one = a_pair([0.0, 0.09, 0.11, -0.09, -0.11, 9, -9, 0], [done] * 6 + [gone] * 2, [done] * 5 + [gone, done, gone])

    assert one.verdict.tolist() == [0, 0, -1, 0, 1, -1, 1, 0]
    whole, *_ = groups([one])
    assert (whole.requests, whole.gain, whole.pay) == (8, 2 / 8, 2 / 8)
    assert whole.e2e_change_s is not None
    assert whole.e2e_change_s.estimate == pytest.approx(0.0)


def test_the_most_changed_are_those_that_only_one_side_finished_and_then_the_latest() -> None:
    done, gone = Outcome.FINISHED, Outcome.CANCELLED
    one = a_pair([0.5, 3.0, 2.0, -1.0, 0, 0], [done] * 5 + [gone], [done] * 4 + [gone, done])

    assert list(most_changed(one).values()) == [104, 101, 105, 103]
    assert "pays: +3 s (request 101)" in most_changed(one)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=60), st.integers(1, 3))
def test_classes_split_the_requests(lengths: list[tuple[int, int]], seeds: int) -> None:
    one = a_pair([0.0] * len(lengths))
    one = replace(one, prompt_tokens=np.array([p for p, _ in lengths]), output_tokens=np.array([o for _, o in lengths]))
    found = groups([one] * seeds)

    for kind in ("all", "prompt_tokens", "output_tokens", "arrival", "outcome"):
        assert sum(group.requests for group in found if group.kind == kind) == seeds * len(lengths)


# --- conditions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bound", "above", "relative"),
    [
        ("ttft_s.p99 > +5%", 0.05, True, True),
        ("ttft_s.p99>5 %", 0.05, True, True),
        (" slo.attainment < -0.01 ", -0.01, False, False),
        ("e2e_s.mean > 1e-3", 1e-3, True, False),
        ("e2e_s.mean > .5", 0.5, True, False),
    ],
)
def test_conditions_are_read(text: str, bound: float, above: bool, relative: bool) -> None:
    read = parse_condition(text)

    assert (read.bound, read.above, read.relative) == (pytest.approx(bound), above, relative)


@pytest.mark.parametrize(
    "text", ["", "ttft_s.p99", "ttft_s.p99 = 5", "ttft_s.p99 > 5ms", "> 5%", "a > 1 > 2", "a > nan"]
)
def test_other_conditions_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r'--fail-if ".*": expected METRIC > BOUND'):
        parse_condition(text)


def test_an_unknown_metric_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"did you mean 'ttft_s\.p99'"):
        check_known([parse_condition("tft_s.p99 > 5%")], ["ttft_s.p99", "e2e_s.p99"], Slo(ttft_s=1.0))


def a_difference(low: float, high: float, caution: str = "") -> Difference:
    middle = Interval((low + high) / 2, low, high, 0.95, 5)
    share = Interval(*(x / 2 for x in (middle.estimate, low, high)), 0.95, 5)
    return Difference("ttft_s.p99", -1, 2.0, 2.0 + middle.estimate, middle, share, "seeds", caution)


@pytest.mark.parametrize(
    ("text", "low", "high", "failed", "sure"),
    [
        ("ttft_s.p99 > 0.5", 0.6, 0.8, True, "whole"),
        ("ttft_s.p99 > 0.5", 0.4, 0.8, True, "includes"),
        ("ttft_s.p99 > 0.5", 0.2, 0.6, False, "includes"),
        ("ttft_s.p99 > 0.5", 0.2, 0.4, False, "whole"),
        ("ttft_s.p99 > 0.5", 0.5, 0.5, False, "whole"),
        ("ttft_s.p99 < -5%", -0.3, -0.2, True, "whole"),
        ("ttft_s.p99 < -15%", -0.3, -0.2, False, "includes"),
        ("ttft_s.p99 > +5%", -math.inf, math.inf, False, "give --seeds"),
    ],
)
def test_the_estimate_decides_and_the_interval_says_how_surely(
    text: str, low: float, high: float, failed: bool, sure: str
) -> None:
    found = a_difference(low, high)
    if math.isinf(low):
        unknown = Interval(0.0, low, high, 0.95, 1)
        found = replace(found, interval=unknown, relative=unknown)
    answer = judge(parse_condition(text), "B", {"ttft_s.p99": found})

    assert answer.failed is failed
    assert sure in answer.words


def test_what_cannot_be_looked_at_has_not_passed() -> None:
    condition = parse_condition("ttft_s.p99 > +50%")
    overloaded = {"ttft_s.p99": a_difference(0.1, 0.1, "overloaded")}
    nothing = {"ttft_s.p99": replace(a_difference(0.1, 0.1), other=None, interval=None, relative=None)}
    from_zero = {"ttft_s.p99": replace(a_difference(0.1, 0.1), relative=None)}

    for differences in (overloaded, nothing, from_zero):
        answer = judge(condition, "B", differences)
        assert (answer.failed, answer.untold) == (False, True)
    forced = judge(condition, "B", overloaded, force=True)
    assert (forced.failed, forced.untold) == (False, False)


# --- files ----------------------------------------------------------------------------------------------------------


def test_files_say_what_was_found(file: Path, tmp_path: Path) -> None:
    import pandas as pd

    compared = schedulers(file, *CROWDED)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(compared, tmp_path / folder)
    said = json.loads((tmp_path / "one" / COMPARISON_FILE).read_text())
    rows = pd.read_parquet(tmp_path / "one" / "differences.parquet").set_index("metric")
    requests = pd.read_parquet(tmp_path / "one" / "requests.parquet")

    assert said["sides"][0]["verdicts"][0]["answer"] == "too short"
    assert rows.loc["e2e_s.mean", "interval.estimate"] == compared.others[0].differences["e2e_s.mean"].interval.estimate  # type: ignore[union-attr]
    assert np.isnan(rows.loc["ttft_s.p99", "first"])
    assert len(requests) == 2 * 80
    per_seed = requests.groupby("seed").ttft_change_s.mean()
    assert per_seed.mean() == pytest.approx(compared.others[0].groups[0].ttft_change_s.estimate)  # type: ignore[union-attr]
    for name in ("differences", "runs", "groups", "requests"):
        first, second = ((tmp_path / folder / f"{name}.parquet").read_bytes() for folder in ("one", "two"))
        assert first == second


def test_p99s_of_unsteady_runs_are_shown_only_on_demand(file: Path) -> None:
    compared = schedulers(file)
    kept, forced = as_json(compared), as_json(compared, force=True)
    values = dict(metrics(compared.runs[0].score))

    assert kept["sides"][0]["runs"][0]["ttft_s.p99"] is None
    assert forced["sides"][0]["runs"][0]["ttft_s.p99"] == values["ttft_s.p99"]
    rows = {row["metric"]: row for row in kept["against"][0]["differences"]}
    assert rows["ttft_s.p99"]["interval"] is None
    assert rows["ttft_s.p99"]["caution"] == "too short"
    assert rows["ttft_s.p50"]["interval"] is not None


# --- how it is shown ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimate", "half", "said", "percent"),
    [
        (0.0567, 0.0134, "+0.06 ± 0.01", "+6 ± 1 %"),
        (-0.0004, 0.01, "0.00 ± 0.01", "0 ± 1 %"),
        (56.22, 142.52, "+56 ± 143", "x 57 ± 143"),
        (10.0, math.inf, "+10", "x 11"),
    ],
)
def test_differences_in_short(estimate: float, half: float, said: str, percent: str) -> None:
    interval = Interval(estimate, estimate - half, estimate + half, 0.95, 2)

    assert interval_text(interval, signed=True) == said
    assert relative_text(interval) == percent


def test_the_axis_leaves_room_beyond_the_farthest_interval(file: Path) -> None:
    comparison = schedulers(file, "workload.arrivals.rate_per_s=60")
    (axes,) = differences_figure(comparison, force=True).axes
    left, right = axes.get_xlim()
    ends = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in axes.lines])
    to_screen = axes.transData.transform
    width = to_screen((right, 0))[0] - to_screen((left, 0))[0]

    assert axes.get_xscale() == "symlog"
    assert to_screen((right, 0))[0] - to_screen((ends.max(), 0))[0] > 0.05 * width
    assert to_screen((ends.min(), 0))[0] - to_screen((left, 0))[0] > 0.05 * width
