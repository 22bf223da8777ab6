"""Every range query against the same question asked token by token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.metrics import goodput, ranges, request_latency
from llmsim.metrics.fluidity import fluidity_index
from llmsim.metrics.gaps import pooled_gaps
from llmsim.metrics.qoe import qoe
from llmsim.metrics.tokens import token_chunks
from llmsim.record import Timelines
from llmsim.statistics.percentiles import weighted_percentile
from properties.metrics_timelines import compact_timelines, random_timelines, token_lists

FEW = settings(max_examples=60, deadline=None)


def test_the_generator_makes_what_it_should() -> None:
    many = [random_timelines(seed, 8, 40) for seed in range(20)]
    segments = np.concatenate([np.bincount(t.request, minlength=8) for t in many])
    ascending = [bool((np.diff(t) >= 0).all()) for m in many for t in token_lists(m)]

    assert segments.max() == 3
    assert segments.min() == 0
    assert all(ascending)
    assert any(np.isnan(t.head_s).any() and not np.isnan(t.head_s).all() for t in many)


@FEW
@given(compact_timelines())
def test_first_last_and_number(timelines: Timelines) -> None:
    tokens = token_lists(timelines)

    assert ranges.n_tokens(timelines).tolist() == [len(t) for t in tokens]
    expected = np.array([t[0] if len(t) else np.nan for t in tokens])
    np.testing.assert_array_equal(ranges.first_token_s(timelines), expected)
    expected = np.array([t[-1] if len(t) else np.nan for t in tokens])
    np.testing.assert_array_equal(ranges.last_token_s(timelines), expected)


@FEW
@given(compact_timelines())
def test_largest_gap(timelines: Timelines) -> None:
    expected = [np.diff(t).max() if len(t) > 1 else np.nan for t in token_lists(timelines)]

    np.testing.assert_array_equal(ranges.largest_gap_s(timelines), expected)


@FEW
@given(compact_timelines(), st.sampled_from([0.0, 0.125, 0.5, 2.0]))
def test_largest_distance_over_a_line(timelines: Timelines, slope: float) -> None:
    expected = [np.max(t - slope * np.arange(1, len(t) + 1)) if len(t) else -np.inf for t in token_lists(timelines)]

    np.testing.assert_array_equal(ranges.max_over_line_s(timelines, slope), expected)


@FEW
@given(compact_timelines())
def test_pooled_gaps(timelines: Timelines) -> None:
    gaps, seen = pooled_gaps(timelines)
    expected = np.concatenate([np.diff(t) for t in token_lists(timelines)])

    assert np.sort(np.repeat(gaps, seen)).tolist() == np.sort(expected).tolist()
    assert (seen > 0).all()


@FEW
@given(compact_timelines(), st.integers(0, 200))
def test_delivered_by(timelines: Timelines, eighths: int) -> None:
    bound_s = eighths / 8

    assert ranges.delivered_by(timelines, bound_s).tolist() == [
        int((t <= bound_s).sum()) for t in token_lists(timelines)
    ]


@FEW
@given(compact_timelines(), st.integers(1, 30))
def test_chunks_hold_every_token_once(timelines: Timelines, chunk_tokens: int) -> None:
    found: dict[int, list[float]] = {i: [] for i in range(len(timelines))}
    for chunk in token_chunks(timelines, chunk_tokens):
        assert len(chunk.times_s) <= chunk_tokens or len(chunk.requests) == 1
        for request, begin, n in zip(chunk.requests, chunk.begin, chunk.n_tokens, strict=True):
            found[int(request)] = chunk.times_s[begin : begin + n].tolist()

    assert found == {i: t.tolist() for i, t in enumerate(token_lists(timelines))}


@FEW
@given(compact_timelines(), st.sampled_from([0.0, 1.0, 4.0]), st.sampled_from([0.125, 0.5, 1.0]))
def test_tokens_on_time(timelines: Timelines, offset: float, per_token: float) -> None:
    expected = [
        int((t - a <= offset + per_token * np.arange(1, len(t) + 1)).sum())
        for a, t in zip(timelines.arrival_s, token_lists(timelines), strict=True)
    ]

    on_time = goodput.tokens_on_time(timelines, offset_s=offset, seconds_per_token=per_token)
    assert on_time.tolist() == expected


@FEW
@given(compact_timelines())
def test_select_keeps_what_it_selects(timelines: Timelines) -> None:
    keep = np.arange(len(timelines)) % 2 == 0
    kept = ranges.select(timelines, keep)

    expected = [t.tolist() for t in token_lists(timelines)[::2]]
    assert [t.tolist() for t in token_lists(kept)] == expected
    assert kept.arrival_s.tolist() == timelines.arrival_s[::2].tolist()


@FEW
@given(compact_timelines())
def test_tpot(timelines: Timelines) -> None:
    expected = [(t[-1] - t[0]) / (len(t) - 1) if len(t) > 1 else np.nan for t in token_lists(timelines)]

    np.testing.assert_array_equal(request_latency.tpot_s(timelines), expected)


@FEW
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 7)), max_size=20),
    st.lists(st.floats(0, 100), min_size=1, max_size=3),
)
def test_weighted_percentile_is_numpys_of_the_population(
    pairs: list[tuple[int, int]], percentiles: list[float]
) -> None:
    values = np.array([v / 7 for v, _ in pairs])
    weights = np.array([w for _, w in pairs], np.int64)
    population = np.repeat(values, weights)
    found = weighted_percentile([(values, weights)], percentiles)

    if len(population):
        assert found == np.percentile(population, percentiles).tolist()
    else:
        assert np.isnan(found).all()


@pytest.mark.parametrize("width", [1, 2, 3, 64, 1000])
def test_range_max(width: int) -> None:
    rng = np.random.default_rng(width)
    values = rng.normal(size=1000)
    start = rng.integers(0, 1001 - width, 50)
    count = rng.integers(0, width + 1, 50)

    expected = [values[s : s + c].max() if c else -np.inf for s, c in zip(start, count, strict=True)]
    assert ranges.range_max(lambda lo, hi: values[lo:hi], start, count).tolist() == expected


@FEW
@given(compact_timelines())
def test_blocks_change_nothing(timelines: Timelines) -> None:
    def answers() -> list[np.ndarray]:
        gaps = [ranges.largest_gap_s(timelines), *pooled_gaps(timelines)]
        return [*gaps, ranges.max_over_line_s(timelines, 0.3)]

    whole = answers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "BLOCK", 3)
        patch.setattr("llmsim.metrics.gaps.BLOCK", 3)
        in_blocks = answers()

    for expected, actual in zip(whole, in_blocks, strict=True):
        np.testing.assert_array_equal(actual, expected)


def naive_qoe(t: np.ndarray, ttft: float, gap: float, form: str) -> float:
    if len(t) == 0:
        return 0.0
    ideal = [ttft + gap * i for i in range(len(t))]
    if form == "clipped":
        delay = sum(max(0.0, x - y) for x, y in zip(t, ideal, strict=True))
        whole = sum(max(0.0, t[-1] - y) for y in ideal)
        return 1.0 if whole == 0 else 1 - delay / whole
    taken: list[float] = []
    for x, y in zip(t, ideal, strict=True):
        taken.append(max(x, y, taken[-1] + gap if taken else y))
    delay = sum(x - y for x, y in zip(taken, ideal, strict=True))
    whole = sum(taken[-1] - y for y in ideal)
    return 1.0 if whole == 0 else 1 - delay / whole


@FEW
@given(compact_timelines(), st.sampled_from(["clipped", "readable"]))
def test_qoe_token_by_token(timelines: Timelines, form: str) -> None:
    expected = [
        naive_qoe(t - a, 1.0, 0.25, form) for a, t in zip(timelines.arrival_s, token_lists(timelines), strict=True)
    ]

    found = qoe(timelines, ttft_s=1.0, tokens_per_s=4.0, form=form)
    assert found == pytest.approx(expected)
    assert ((found >= -1e-12) & (found <= 1)).all()


def naive_fluidity(t: np.ndarray, prefill: float, decode: float) -> float:
    slack, missed, total, before = 0.0, 0.0, 0.0, 0.0
    for i, now in enumerate(t):
        due, took = (decode if i else prefill), now - before
        before = now
        if took <= due + slack:
            slack += due - took
            total += 1
        else:
            m = (took - slack - due) // decode + 1
            missed, total, slack = missed + m, total + m, 0.0
    return 1 - missed / total if total else 0.0


@FEW
@given(compact_timelines(), st.sampled_from([0.125, 0.5]))
def test_fluidity_token_by_token(timelines: Timelines, decode: float) -> None:
    expected = [
        naive_fluidity(t - a, 1.0, decode) for a, t in zip(timelines.arrival_s, token_lists(timelines), strict=True)
    ]

    assert fluidity_index(timelines, prefill_s=1.0, decode_s=decode).tolist() == expected
