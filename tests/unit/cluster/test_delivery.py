from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmsim import delivery, experiment
from llmsim.errors import InputError
from llmsim.metrics.ranges import largest_gap_s
from llmsim.record import Timelines
from llmsim.request import Outcome
from llmsim.scenario import load_scenario
from small_scenario import small

SMALL = small("held back", 30)


def test_immediate_changes_nothing() -> None:
    timelines = Timelines.from_token_times([0.0], [[1.0]])

    assert delivery.immediate(timelines) is timelines


def test_the_papers_output_delay_hides_a_stall() -> None:
    """Vector C of the design notes: 30 tokens every 20 ms, but the 15th gap is 500 ms; TBT bound 100 ms."""
    gaps_s = np.where(np.arange(1, 30) == 15, 0.5, 0.02)
    emitted = 0.2 + np.concatenate([[0.0], np.cumsum(gaps_s)])
    held = delivery.output_delay(Timelines.from_token_times([0.0], [emitted]), 0.1)

    assert emitted[-1] == pytest.approx(1.26)
    assert held.token_times_s(0) == pytest.approx(0.2 + 0.1 * np.arange(30))
    assert largest_gap_s(held) == pytest.approx([0.1])
    assert held.end_s == pytest.approx([3.10])


def test_after_a_stall_a_gap_stays_a_gap_and_a_rate_catches_up() -> None:
    timelines = Timelines.from_token_times([0.0], [[1.0, 1.1, 5.0, 5.1]])

    assert delivery.paced(timelines, tbt_s=1.0).token_times_s(0).tolist() == [1.0, 2.0, 5.0, 6.0]
    assert delivery.paced(timelines, tokens_per_s=1.0).token_times_s(0).tolist() == [1.0, 2.0, 5.0, 5.1]
    assert delivery.paced(timelines, ttft_s=1.5).token_times_s(0).tolist() == [1.5, 1.5, 5.0, 5.1]


def test_what_is_still_held_when_a_request_is_cut_short_is_lost() -> None:
    timelines = Timelines.from_token_times(
        [0.0, 0.0], [[1.0, 1.1, 1.2], []], end_s=[2.5, 1.0], outcome=[Outcome.CANCELLED, Outcome.ABANDONED]
    )
    held = delivery.paced(timelines, tbt_s=1.0)

    assert held.token_times_s(0).tolist() == [1.0, 2.0]
    assert held.end_s.tolist() == [2.5, 1.0]
    assert len(held.token_times_s(1)) == 0


@pytest.mark.parametrize(
    ("pace", "says"),
    [
        ({}, "needs tbt_s, tokens_per_s or ttft_s"),
        ({"tbt_s": 1.0, "tokens_per_s": 1.0}, "exclude each other"),
        ({"tbt_s": float("nan")}, "delivery.tbt_s: expected more than 0"),
        ({"ttft_s": -1.0}, "delivery.ttft_s: expected seconds, 0 or more"),
    ],
)
def test_a_pace_that_is_none(pace: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        delivery.paced(Timelines.from_token_times([], []), **pace)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return file


def test_a_scenario_is_scored_on_delivered_times(small: Path) -> None:
    plain = experiment.run(load_scenario(small))
    held = experiment.run(load_scenario(small, ["delivery.policy=paced", "delivery.tbt_s=0.5"]))

    assert plain.score["choices"]["delivery"] == {"policy": "immediate"}
    assert held.score["choices"]["delivery"] == {"policy": "paced", "tbt_s": 0.5, "ttft_s": 0.0}
    assert held.score["simulated_s"] == plain.score["simulated_s"], "the GPU does not notice"
    assert held.score["ttft_s"] == plain.score["ttft_s"]
    assert held.score["tbt_s"]["p50"] == pytest.approx(0.5)
    assert held.score["e2e_s"]["p50"] > plain.score["e2e_s"]["p50"] + 0.4 * 19


def test_emitted_and_delivered_are_different_columns(small: Path, tmp_path: Path) -> None:
    held = experiment.run(load_scenario(small, ["delivery.policy=paced", "delivery.tbt_s=0.5"]))
    with experiment.staged(tmp_path / "out") as scratch:
        experiment.write(held, scratch)
    requests = pd.read_parquet(tmp_path / "out" / "requests.parquet")
    tokens = pd.read_parquet(tmp_path / "out" / "delivered_tokens.parquet")

    assert (requests["first_token_delivered_s"] == requests["first_token_s"]).all()
    assert (requests["last_token_delivered_s"] >= requests["first_token_s"] + 0.5 * 19 - 1e-9).all()
    assert (requests["last_token_delivered_s"] > requests["end_s"]).all()
    assert requests["delivered_tokens"].tolist() == requests["emitted_tokens"].tolist() == [20] * 30
    assert tokens.groupby("request")["delivered_s"].max().tolist() == requests["last_token_delivered_s"].tolist()
    assert experiment.read_record(tmp_path / "out").requests.keys() == held.record.requests.keys()


def test_a_run_without_delay_leaves_no_table_of_an_earlier_one(small: Path, tmp_path: Path) -> None:
    for policy in (["delivery.policy=paced", "delivery.tbt_s=0.5"], []):
        with experiment.staged(tmp_path / "out") as scratch:
            experiment.write(experiment.run(load_scenario(small, policy)), scratch)

    assert not (tmp_path / "out" / "delivered_tokens.parquet").exists()
    assert json.loads((tmp_path / "out" / "scenario.json").read_text())["delivery"] == {"policy": "immediate"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("delivery.policy=pacd", "delivery.policy: unknown value 'pacd'; did you mean 'paced'?"),
        ("delivery.policy=paced", "needs tbt_s, tokens_per_s or ttft_s"),
        ("delivery.tbt_s=0.1", "delivery.policy: missing"),
    ],
)
def test_a_delivery_that_is_none_is_one_line(small: Path, change: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        load_scenario(small, [change])

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
