"""Timelines A, B and C, with the numbers worked out by hand (and checked elsewhere) in the design notes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsim.metrics.ranges import largest_gap_s
from llmsim.metrics.request_table import request_table
from llmsim.metrics.slo import meets
from llmsim.metrics.smooth_goodput import User, benefit_tokens, delivered_lateness_s
from llmsim.record import Timelines
from llmsim.request import Outcome
from llmsim.slo import Slo

A = np.concatenate([np.arange(1, 11) * 0.1, 2.0 + np.arange(10) * 0.1])
B = np.concatenate([[0.1, 0.2], 1.2 + np.arange(18) * 0.1])
C_GAPS = np.where(np.arange(1, 30) == 15, 0.5, 0.02)
C = 0.2 + np.concatenate([[0.0], np.cumsum(C_GAPS)])
C_PACED = 0.2 + 0.1 * np.arange(30)  # each token held to the TBT bound after the one before
READER = User(tokens_per_s=4.0)


@pytest.mark.parametrize("arrival_s", [0.0, 1234.5])
def test_vectors_a_and_b(arrival_s: float) -> None:
    timelines = Timelines.from_token_times([arrival_s] * 2, [A + arrival_s, B + arrival_s])
    expected = {
        "ttft_s": (0.1, 0.1),
        "max_gap_s": (1.0, 1.0),
        "tpot_s": (2.8 / 19, 2.8 / 19),
        "l_arrival_s": (0.1 - 0.25, 1.2 - 3 * 0.25),
        "l_first_token_s": (0.0, 1.1 - 2 * 0.25),
        "l_first_token_plus_v_s": (0.0 - 0.25, 1.1 - 3 * 0.25),
        "qoe": (1.0, 0.9416),
        "fluidity": (1.0, 1 - 2 / 21),
    }

    rows = request_table(timelines, READER)

    for name, values in expected.items():
        assert [row[name] for row in rows] == pytest.approx(values, abs=5e-5), name


def test_vector_c_pacing_turns_a_miss_into_a_pass_while_the_user_waits_longer() -> None:
    timelines = Timelines.from_token_times([0.0, 0.0], [C, C_PACED])
    user = User(tokens_per_s=20.0, offset_s=0.5)

    assert meets(timelines, Slo(ttft_s=0.5, tbt_s=0.1)).tolist() == [False, True]
    assert largest_gap_s(timelines) == pytest.approx([0.5, 0.1])
    assert timelines.end_s == pytest.approx([1.26, 3.10])
    assert delivered_lateness_s(timelines, user) == pytest.approx([-0.32, 1.10])


def test_token_deadlines_of_a_request_by_hand() -> None:
    """Tokens at 1.0, 1.5, 2.6 s; due 0.8 s apart: at 0.8, 1.6, 2.4 s, or with a TTFT of 1.0 s at 1.0, 1.8, 2.6 s."""
    timelines = Timelines.from_token_times([10.0], [[11.0, 11.5, 12.6]])

    assert not meets(timelines, Slo(token_deadline_s=0.8))[0]  # the first is late
    assert meets(timelines, Slo(token_deadline_s=1.0))[0]
    assert meets(timelines, Slo(ttft_s=1.0, token_deadline_s=0.8))[0]
    assert not meets(timelines, Slo(ttft_s=1.0, token_deadline_s=0.79))[0]  # the last is
    assert not meets(timelines, Slo(ttft_s=0.9, token_deadline_s=0.9))[0]
    assert meets(timelines, Slo(ttft_s=1.1, token_deadline_s=0.75))[0]


def test_waiting_with_the_first_tokens_fools_the_first_token_anchor_only() -> None:
    held = [B, np.maximum(B, 0.2), np.maximum(B, 0.7)]
    timelines = Timelines.from_token_times([0.0] * 3, held)
    from_first = User(tokens_per_s=4.0, anchor="first_token", index_base=0)

    assert delivered_lateness_s(timelines, from_first) == pytest.approx([0.60, 0.50, 0.00])
    assert delivered_lateness_s(timelines, READER) == pytest.approx([0.45] * 3)


def test_an_early_drop_pays_until_drop_and_not_until_the_run_ends() -> None:
    """Served, the request is worth 2 - 99 tokens; refused, 0, or 0 - 100 with the wait charged."""
    served = Timelines.from_token_times([0.0], [[100.0, 101.0]])
    refused = Timelines.from_token_times([0.0], [[]], outcome=[Outcome.REJECTED])
    user = User(tokens_per_s=1.0, alpha=1.0)

    assert benefit_tokens(served, user).tolist() == [2 - (100 - 1)]
    assert benefit_tokens(refused, replace(user, charge="until_drop")).tolist() == [0.0]
    assert benefit_tokens(refused, user, end_s=101.0).tolist() == [0 - (101 - 1)]
