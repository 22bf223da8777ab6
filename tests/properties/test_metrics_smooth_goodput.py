"""What smooth goodput promises, on random timelines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.metrics import goodput, slo
from llmsim.metrics.smooth_goodput import (
    PENALTIES,
    User,
    benefit_tokens,
    delivered_lateness_s,
    idle_latency_s,
    meets_user,
    smooth_goodput_tokens_per_s,
)
from llmsim.metrics.window import Window, per_second, resolve
from llmsim.record import Timelines
from llmsim.request import Outcome
from properties.metrics_timelines import compact_timelines, token_lists

FEW = settings(max_examples=60, deadline=None)
MAKESPAN = Window(kind="makespan")

readers = st.builds(
    User,
    tokens_per_s=st.sampled_from([1.0, 4.0, 32.0]),
    alpha=st.sampled_from([0.5, 2.5, 40.0]),
    offset_s=st.sampled_from([0.0, 0.5]),
    penalty=st.sampled_from(PENALTIES),
)


def listed(timelines: Timelines, tokens: list[np.ndarray], **changes: object) -> Timelines:
    kept = {
        "end_s": timelines.end_s,
        "outcome": timelines.outcome.tolist(),
        "output_tokens": timelines.output_tokens.tolist(),
    }
    return Timelines.from_token_times(timelines.arrival_s, tokens, **(kept | changes))


@FEW
@given(compact_timelines(), readers, st.integers(0, 2**32 - 1))
def test_delaying_never_raises_it(timelines: Timelines, user: User, seed: int) -> None:
    rng = np.random.default_rng(seed)
    later = [np.maximum.accumulate(t + rng.integers(0, 9, len(t)) / 8) for t in token_lists(timelines)]
    end_s = float(timelines.end_s.max()) + 1000.0
    delayed = listed(timelines, later, end_s=np.maximum(timelines.end_s, [*map(last_or_0, later)]))

    before = benefit_tokens(timelines, user, end_s=end_s)
    after = benefit_tokens(delayed, user, end_s=end_s)
    assert (after <= before + 1e-9).all()


def last_or_0(t: np.ndarray) -> float:
    return float(t[-1]) if len(t) else 0.0


@FEW
@given(compact_timelines(), readers)
def test_idle_latency_is_the_stall_of_a_reader(timelines: Timelines, user: User) -> None:
    """The reader starts offset + V after the arrival and takes one token per V; stalls move the rest."""
    expected = []
    for arrival_s, tokens in zip(timelines.arrival_s, token_lists(timelines), strict=True):
        ready, stalled = user.offset_s + user.seconds_per_token, 0.0
        for t in tokens - arrival_s:
            stalled += max(0.0, t - ready)
            ready = max(t, ready) + user.seconds_per_token
        expected.append(stalled)

    assert np.maximum(delivered_lateness_s(timelines, user), 0.0) == pytest.approx(np.array(expected), abs=1e-9)


@FEW
@given(compact_timelines(), readers.filter(lambda u: u.penalty != "indicator"))
def test_alpha_0_is_throughput(timelines: Timelines, user: User) -> None:
    for window in (MAKESPAN, Window()):
        found = smooth_goodput_tokens_per_s(timelines, replace(user, alpha=0.0), window)

        expected = goodput.throughput_tokens_per_s(timelines, window)
        assert found == pytest.approx(expected, nan_ok=True)
    span = resolve(MAKESPAN, timelines)
    total = sum(len(t) for t in token_lists(timelines))
    assert goodput.delivered_tokens_per_s(timelines, span) == pytest.approx(per_second(total, span), nan_ok=True)


@FEW
@given(compact_timelines(), readers)
def test_the_indicator_is_classical_goodput(timelines: Timelines, user: User) -> None:
    found = benefit_tokens(timelines, replace(user, penalty="indicator"))

    deadline_s = [user.due_s(np.arange(1, len(t) + 1)) for t in token_lists(timelines)]
    on_time = [
        bool((t - a <= d + 1e-9).all())
        for t, a, d in zip(token_lists(timelines), timelines.arrival_s, deadline_s, strict=True)
    ]
    good = np.array(on_time) & (timelines.outcome == Outcome.FINISHED)
    assert found.tolist() == np.where(good, timelines.output_tokens, 0).tolist()
    assert (meets_user(timelines, user) == good).all()


def dropped(timelines: Timelines, kept: np.ndarray, drop_s: np.ndarray) -> Timelines:
    """The same run, but each request is abandoned at drop_s after its first `kept` tokens."""
    tokens = [t[:k] for t, k in zip(token_lists(timelines), kept, strict=True)]
    return listed(timelines, tokens, end_s=drop_s, outcome=[Outcome.ABANDONED] * len(timelines))


def a_drop(timelines: Timelines, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How many tokens each request keeps, and a moment to drop it: no earlier than the last kept one."""
    rng = np.random.default_rng(seed)
    tokens = token_lists(timelines)
    kept = np.array([int(rng.integers(0, len(t) + 1)) for t in tokens])
    last = [t[k - 1] if k else a for t, k, a in zip(tokens, kept, timelines.arrival_s, strict=True)]
    return kept, np.array(last)


@FEW
@given(compact_timelines(outcomes=False), readers, st.integers(0, 2**32 - 1))
def test_charged_until_the_end_of_the_serving_run_a_drop_never_pays(
    timelines: Timelines, user: User, seed: int
) -> None:
    end_s = float(timelines.end_s.max())  # of the run that serves them all
    served = benefit_tokens(timelines, user, end_s=end_s)

    assert (benefit_tokens(dropped(timelines, *a_drop(timelines, seed)), user, end_s=end_s) <= served + 1e-9).all()


@FEW
@given(compact_timelines(outcomes=False), readers, st.integers(0, 2**32 - 1))
def test_a_patience_longer_than_the_wait_for_the_rest_closes_the_hole_too(
    timelines: Timelines, user: User, seed: int
) -> None:
    kept, drop_s = a_drop(timelines, seed)
    patience_s = float(np.max(timelines.end_s - drop_s, initial=0.0))
    patient = replace(user, charge="until_patience", patience_s=patience_s)

    served = benefit_tokens(timelines, patient)
    assert (benefit_tokens(dropped(timelines, kept, drop_s), patient) <= served + 1e-9).all()


@FEW
@given(compact_timelines(outcomes=False), readers, st.integers(0, 2**32 - 1))
def test_until_drop_charges_the_wait_that_has_happened(timelines: Timelines, user: User, seed: int) -> None:
    kept, drop_s = a_drop(timelines, seed)
    after = dropped(timelines, kept, drop_s)

    late_s = np.maximum(delivered_lateness_s(after, user), drop_s - timelines.arrival_s - user.due_s(kept + 1))
    assert idle_latency_s(after, replace(user, charge="until_drop")) == pytest.approx(late_s)
    # Dropped only after its last token would have come, it gains nothing either.
    too_late = dropped(timelines, kept, timelines.end_s)
    served = benefit_tokens(timelines, user)
    assert (benefit_tokens(too_late, replace(user, charge="until_drop")) <= served + 1e-9).all()


@FEW
@given(compact_timelines(), st.sampled_from([0.0, 0.5, 2.0]), st.sampled_from([0.125, 0.5, 1.0]))
def test_slo_by_deadlines(timelines: Timelines, ttft: float, per_token: float) -> None:
    """Meeting bounds and meeting the deadlines of equations 2 to 4 are the same thing."""
    finished = timelines.outcome == Outcome.FINISHED
    own = [t - a for t, a in zip(token_lists(timelines), timelines.arrival_s, strict=True)]

    def meets_all(deadlines: list[np.ndarray]) -> list[bool]:
        return [bool(f and len(t) and (t <= d + 1e-9).all()) for f, t, d in zip(finished, own, deadlines, strict=True)]

    chained = meets_all([slo.tbt_deadlines_s(t, ttft, per_token) for t in own])
    assert slo.meets(timelines, slo.Slo(ttft_s=ttft, tbt_s=per_token)).tolist() == chained
    ends = meets_all([slo.tpot_deadlines_s(t, ttft, per_token) for t in own])
    assert slo.meets(timelines, slo.Slo(ttft_s=ttft, tpot_s=per_token)).tolist() == ends
    whole = meets_all([slo.e2e_deadlines_s(t, 4 * per_token) for t in own])
    assert slo.meets(timelines, slo.Slo(e2e_s=4 * per_token)).tolist() == whole
