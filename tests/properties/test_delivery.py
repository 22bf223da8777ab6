"""What a gateway may do to tokens: hold them, never hasten them; and what that does to metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim import delivery
from llmsim.metrics.smooth_goodput import User, benefit_tokens
from llmsim.metrics.window import run_end_s
from llmsim.record import Timelines
from llmsim.request import Outcome
from properties.metrics_timelines import compact_timelines, token_lists

FEW = settings(max_examples=60, deadline=None)

paces = st.sampled_from(
    [{"tbt_s": 0.125}, {"tbt_s": 0.5}, {"tbt_s": 3.0, "ttft_s": 1.0}, {"tokens_per_s": 4.0}, {"ttft_s": 2.0},
     {"tokens_per_s": 0.5, "ttft_s": 0.5}]
)  # fmt: skip


def by_hand(emitted: np.ndarray, arrival_s: float, pace: dict[str, float]) -> list[float]:
    out: list[float] = []
    for i, t in enumerate(emitted):
        if i == 0:
            out.append(max(t, arrival_s + pace.get("ttft_s", 0.0)))
        elif "tokens_per_s" in pace:
            out.append(max(t, out[0] + i / pace["tokens_per_s"]))
        else:
            out.append(max(t, out[-1] + pace.get("tbt_s", 0.0)))
    return out


@FEW
@given(compact_timelines(), paces)
def test_paced_is_the_recurrence_token_by_token(timelines: Timelines, pace: dict[str, float]) -> None:
    found = delivery.paced(timelines, **pace)

    for i, emitted in enumerate(token_lists(timelines)):
        expected = by_hand(emitted, timelines.arrival_s[i], pace)
        if timelines.outcome[i] != Outcome.FINISHED:
            expected = [t for t in expected if t <= timelines.end_s[i]]
        assert found.token_times_s(i).tolist() == expected
        assert (found.token_times_s(i) >= emitted[: len(expected)]).all()
        if "ttft_s" not in pace and expected:
            assert expected[0] == emitted[0]
        if timelines.outcome[i] == Outcome.FINISHED:
            assert found.end_s[i] == max([timelines.end_s[i], *expected])


@FEW
@given(compact_timelines(), paces, st.sampled_from([1, 7]))
def test_chunks_change_nothing(timelines: Timelines, pace: dict[str, float], chunk_tokens: int) -> None:
    whole = delivery.paced(timelines, **pace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delivery, "CHUNK_TOKENS", chunk_tokens)
        chunked = delivery.paced(timelines, **pace)

    assert chunked.times_s.tolist() == whole.times_s.tolist()
    assert chunked.count.tolist() == whole.count.tolist()


@FEW
@given(compact_timelines(), paces, st.sampled_from([0.5, 4.0, 32.0]))
def test_holding_tokens_never_raises_a_benefit(
    timelines: Timelines, pace: dict[str, float], tokens_per_s: float
) -> None:
    user = User(tokens_per_s=tokens_per_s)
    held = delivery.paced(timelines, **pace)
    end_s = run_end_s(held)

    assert (benefit_tokens(held, user, end_s=end_s) <= benefit_tokens(timelines, user, end_s=end_s) + 1e-9).all()


@FEW
@given(compact_timelines(outcomes=False), st.sampled_from([1.0, 4.0, 32.0]))
def test_holding_to_the_pace_of_a_reader_makes_no_reader_wait(timelines: Timelines, tokens_per_s: float) -> None:
    """Tokens held to the line of a reader who starts with the first one are never later than he wants them."""
    user = User(tokens_per_s=tokens_per_s, anchor="first_token", index_base=0)
    held = delivery.paced(timelines, tokens_per_s=tokens_per_s)

    end_s = run_end_s(held)
    assert benefit_tokens(held, user, end_s=end_s) == pytest.approx(benefit_tokens(timelines, user, end_s=end_s))
