"""Scores of ends of steps that stay formulas against those of all of them spelled out: equal to the bit."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.delivery import shifted, until_left
from llmsim.metrics import ranges
from llmsim.metrics.gaps import Gaps
from llmsim.metrics.score import score
from llmsim.metrics.smooth_goodput import User
from llmsim.record import Timelines
from llmsim.request import Outcome
from llmsim.slo import Slo
from llmsim.statistics.percentiles import percentiles_of, weighted_percentile
from llmsim.step_ends import StepEnds, joined, spelled_out

FEW = settings(max_examples=60, deadline=None)
PERCENTILES = (0.0, 33.3, 50.0, 90.0, 99.0, 100.0)


def random_ends(rng: np.random.Generator, stretches: int) -> StepEnds:
    """Stretches one after another, some of which go on where the one before was cut; some do not grow, some shrink."""
    rows, now_s = [], float(rng.choice([0.0, 1e3, 1e6])) * rng.random()
    while len(rows) < stretches:
        first_s = float(rng.choice([0.01, 0.02, rng.uniform(0.001, 0.1)]))
        growth_s = float(rng.choice([0.0, 1e-17, 1e-13, 1e-9, 1e-7, 1e-5, -1e-7]))
        offset = 0
        for _ in range(int(rng.integers(1, 4))):
            steps = int(rng.choice([1, 2, 3, 10, 200, 700]))
            rows.append((now_s, first_s, growth_s, offset, steps))
            offset += steps
        now_s += offset * first_s + offset * (offset - 1) / 2 * growth_s + float(rng.choice([0.0, 0.5])) * rng.random()
    anchor_s, first_s, growth_s, offset, steps = (np.array(column) for column in zip(*rows, strict=True))
    return StepEnds.of(anchor_s, first_s, growth_s, offset, steps)


def random_timelines(seed: int) -> Timelines:
    """Requests that decode where stretches begin, mostly, on one of two instances."""
    rng = np.random.default_rng(seed)
    parts = [random_ends(rng, int(rng.integers(1, 8))) for _ in range(2)]
    ends = joined(parts)
    assert isinstance(ends, StepEnds)
    n = int(rng.integers(1, 12))
    bounds = (0, len(parts[0])), (len(parts[0]), len(ends))
    rows = []
    for request in range(n):
        lo, hi = bounds[int(rng.integers(2))]
        edges = np.append(ends.begin[(ends.begin >= lo) & (ends.begin < hi)], hi)
        start = int(rng.choice(edges[:-1])) if rng.random() < 0.8 else int(rng.integers(lo, hi))
        stop = int(rng.choice(edges)) if rng.random() < 0.8 else int(rng.integers(lo, hi + 1))
        head_s = float(ends[np.array([start])][0]) - rng.random() / 10 if rng.random() < 0.7 else np.nan
        rows.append((request, head_s, start, max(stop - start, 0)))
    request, head_s, start, count = (np.array(column) for column in zip(*rows, strict=True))
    every_s = ends[:]
    first_s = np.where(np.isnan(head_s), every_s[start], head_s)
    last_s = np.where(count > 0, every_s[np.minimum(start + count, len(ends)) - 1], first_s)
    tokens = count + ~np.isnan(head_s)
    return Timelines(
        arrival_s=first_s - rng.random(n),
        end_s=last_s,
        outcome=np.where(tokens > 0, Outcome.FINISHED, Outcome.UNFINISHED).astype(np.int8),
        prompt_tokens=np.ones(n, np.int64),
        output_tokens=tokens,
        request=request,
        head_s=head_s,
        start=start,
        count=count,
        times_s=ends,
    )


def in_full(timelines: Timelines) -> Timelines:
    return replace(timelines, times_s=timelines.times_s[:])


seeds = st.integers(0, 2**32 - 1)


@FEW
@given(seeds)
def test_largest_gap_and_distance_over_a_line(seed: int) -> None:
    compact = random_timelines(seed)
    full = in_full(compact)

    np.testing.assert_array_equal(ranges.largest_gap_s(compact), ranges.largest_gap_s(full))
    for slope_s in (0.0, 0.01, 0.0200001, 0.2):
        found, expected = (ranges.max_over_line_s(times, slope_s) for times in (compact, full))
        np.testing.assert_array_equal(found, expected)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_percentiles_of_gaps(seed: int) -> None:
    compact = random_timelines(seed)
    for changed in (compact, shifted(compact, 0.0371)):
        gaps, every = Gaps(changed), Gaps(in_full(changed))
        for few in (0, 50):
            with patch("llmsim.statistics.arithmetic_series.FEW", few):
                found = percentiles_of(gaps.population, PERCENTILES)
            np.testing.assert_array_equal(found, weighted_percentile(every, PERCENTILES))
        assert gaps.population.n == every.population.n


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_scores(seed: int) -> None:
    compact = random_timelines(seed)
    left_s = np.where(np.arange(len(compact)) % 3 == 0, (compact.arrival_s + compact.end_s) / 2, np.nan)
    for changed in (compact, shifted(compact, 0.0371), until_left(compact, left_s)):
        found, expected = (
            score(times, slo=Slo(ttft_s=0.5, tbt_s=0.02), user=User()).to_dict()
            for times in (changed, in_full(changed))
        )
        np.testing.assert_equal(found, expected)


def test_few_steps_are_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen times the tokens cost no more steps: the ends of a stretch, and a few where a percentile lies."""
    looked_at = 0
    at = StepEnds._at

    def counted(ends: StepEnds, places: np.ndarray, rows: np.ndarray) -> np.ndarray:
        nonlocal looked_at
        looked_at += len(places)
        return at(ends, places, rows)

    monkeypatch.setattr(StepEnds, "_at", counted)
    monkeypatch.setattr("llmsim.statistics.arithmetic_series.FEW", 0)
    costs = []
    for tokens in (10_000, 160_000):
        n = 20
        ends = StepEnds.of(
            np.arange(n) * 1e4, np.full(n, 0.01), np.linspace(1e-8, 1e-7, n), np.zeros(n, np.int64), np.full(n, tokens)
        )
        timelines = Timelines(
            *(ends.anchor_s - 0.1, ends[ends.begin + tokens - 1], np.full(n, Outcome.FINISHED, np.int8)),
            *(
                np.ones(n, np.int64),
                np.full(n, tokens),
                np.arange(n),
                np.full(n, np.nan),
                ends.begin,
                np.full(n, tokens),
            ),
            times_s=ends,
        )
        looked_at = 0
        score(timelines, slo=Slo(ttft_s=0.5, tbt_s=0.02), user=User())
        costs.append(looked_at)

    assert costs[1] < 1.5 * costs[0] < 150 * n


def test_ends_in_full_are_joined_without_a_copy() -> None:
    parts = [random_ends(np.random.default_rng(seed), 3) for seed in range(3)]
    full = spelled_out(parts, [len(part) for part in parts])
    expected = np.concatenate([part[:] for part in parts])
    whole = joined(full)

    assert np.array_equal(whole, expected)
    assert all(np.shares_memory(whole, part) for part in full)
    for others in (full[1:], full[::-1], [*full[:2], full[2].copy()], [parts[0], *full[1:]]):
        assert np.array_equal(joined(others), np.concatenate([part[:] for part in others]))
    assert len(joined([np.empty(0)])) == 0
