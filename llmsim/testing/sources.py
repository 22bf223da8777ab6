"""Checks of what a run draws on: step times, arrival processes, length sources."""

from __future__ import annotations

import numpy as np

from llmsim.latency.contract import Chunk, LatencyModel
from llmsim.testing.made import check_made
from llmsim.workload.arrival_process import ArrivalProcess
from llmsim.workload.length_source import LengthSource

#: (chunks, decoding sequences, sum of their contexts) of steps that every latency model must know
STEPS: tuple[tuple[tuple[Chunk, ...], int, int], ...] = (
    (((0, 1),), 0, 0),
    (((0, 512),), 0, 0),
    (((0, 30_000),), 0, 0),
    (((4096, 512),), 0, 0),
    (((0, 100), (512, 512), (0, 7)), 0, 0),
    ((), 1, 1),
    ((), 1, 131_072),
    ((), 17, 17 * 900),
    ((), 256, 256 * 2000),
    ((), 5000, 5000 * 3),
    (((0, 512),), 1, 700),
    (((512, 300), (0, 200)), 100, 100_000),
)


#: (decoding sequences, sum of their contexts) from which rows of decode steps are followed, and for how many steps
ROWS = ((1, 1, 300), (7, 900, 1), (100, 50_000, 300), (3, 9, 40))


def check_latency(latency: LatencyModel) -> None:
    """Raise AssertionError unless step times keep the contract; TypeError for a class in place of a model.

    They are positive and finite floats, the same whenever they are asked for, and no shorter with more context or a
    longer chunk; and what `decode_line` says of steps in a row is what `step_time_s` says of each.
    """
    check_made(latency)
    for step in STEPS:
        time_s = latency.step_time_s(*step)
        assert type(time_s) is float, f"{time_s!r}: expected a float, of step {step}"
        assert 0 < time_s < np.inf, f"{time_s}: expected a finite time above 0, of step {step}"
    asked = [latency.step_time_s(*step) for step in (*STEPS, *STEPS[::-1])]
    assert asked == asked[::-1], "the same step, another time"
    for decoding in (1, 64, 1500):
        times_s = [latency.step_time_s((), decoding, decoding * context) for context in range(1, 3000, 7)]
        assert (np.diff(times_s) >= -1e-15).all(), f"more context is faster, {decoding} sequences"
    times_s = [latency.step_time_s(((100, tokens),), 8, 8000) for tokens in range(1, 3000, 13)]
    assert (np.diff(times_s) >= -1e-15).all(), "a longer chunk is faster"
    for row in ROWS:
        _check_lines(latency, *row)


def _check_lines(latency: LatencyModel, decoding: int, context_tokens: int, steps: int) -> None:
    while steps > 0:
        first_s, growth_s, on_line = line = latency.decode_line(decoding, context_tokens)
        where = f"decode_line({decoding}, {context_tokens})"
        assert tuple(map(type, line)) == (float, float, int), f"{where} = {line}: expected two floats and an int"
        assert on_line >= 1, f"{where} holds for no step"
        single_s = latency.step_time_s((), decoding, context_tokens)
        assert first_s == single_s, f"{where} begins with {first_s} s, the step alone takes {single_s} s"
        for k in range(min(on_line, steps)):
            single_s = latency.step_time_s((), decoding, context_tokens + k * decoding)
            assert abs(first_s + k * growth_s - single_s) <= 1e-12 * single_s, f"{where}: step {k} takes {single_s} s"
        steps -= on_line
        context_tokens += on_line * decoding


#: seeds, and numbers of requests, that arrivals and lengths are drawn for
DRAWS = ((0, 1), (0, 50), (7, 500))


def check_arrivals(process: ArrivalProcess) -> None:
    """Raise AssertionError unless an arrival process keeps the contract; TypeError for a class in place of a process.

    Its times are finite and ascend from 0 on, are as many as were asked for, follow from the generator alone, and are
    the first of those of more requests.
    """
    check_made(process)
    for seed, requests in DRAWS:
        times_s = process.times_s(np.random.default_rng(seed), requests)
        assert times_s.shape == (requests,), f"{times_s.shape}: expected times of shape ({requests},)"
        assert times_s.dtype == np.float64, f"times are {times_s.dtype}, expected float64"
        assert np.isfinite(times_s).all(), "a time that is not finite"
        assert (np.diff(times_s, prepend=0.0) >= 0).all(), "times that do not ascend from 0"
        again_s, more_s = (process.times_s(np.random.default_rng(seed), n) for n in (requests, requests + 17))
        assert np.array_equal(times_s, again_s), "the same generator, other times: random numbers of its own?"
        assert np.array_equal(times_s, more_s[:requests]), "more requests do not begin with the same times"


def check_lengths(source: LengthSource) -> None:
    """Raise AssertionError unless a length source keeps the contract; TypeError for a class in place of a source.

    Its lengths are whole numbers of at least 1, as many as were asked for, follow from the generator alone, and are the
    first of those of more requests.
    """
    check_made(source)
    for seed, requests in DRAWS:
        drawn, again, more = (
            source.tokens(np.random.default_rng(seed), n) for n in (requests, requests, requests + 17)
        )
        assert len(drawn) == 2, f"{len(drawn)} arrays, expected prompts and outputs"
        for tokens, twice, longer in zip(drawn, again, more, strict=True):
            assert tokens.shape == (requests,), f"{tokens.shape}: expected lengths of shape ({requests},)"
            assert tokens.dtype == np.int64, f"lengths are {tokens.dtype}, expected int64"
            assert tokens.min() >= 1, "a length below 1"
            assert np.array_equal(tokens, twice), "the same generator, other lengths: random numbers of its own?"
            assert np.array_equal(tokens, longer[:requests]), "more requests do not begin with the same lengths"
