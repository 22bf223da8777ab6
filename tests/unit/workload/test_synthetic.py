"""Streams, and the joining of arrivals and lengths."""

from __future__ import annotations

import time
from dataclasses import fields

import numpy as np
import pytest

from llmsim import discovery
from llmsim.errors import InputError
from llmsim.workload.quantile_table import TABLES, load_table
from llmsim.workload.streams import Streams, streams
from llmsim.workload.synthetic import ARRIVALS, LENGTHS, arrival_process, length_source, synthesize

POISSON = arrival_process("poisson", rate_per_s=4.0)
SHAREGPT = length_source("sharegpt")


def test_streams_are_the_first_children_of_the_seed_in_a_fixed_order():
    # Adding a stream anywhere but at the end breaks this, and with it every result that was ever published.
    names = [field.name for field in fields(Streams)]
    drawn = [getattr(streams(7), name).random() for name in names]

    assert names[:5] == ["arrivals", "lengths", "routing", "users", "predictions"]
    assert drawn == [
        np.random.default_rng(np.random.SeedSequence(7, spawn_key=(i,))).random() for i in range(len(names))
    ]


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_bad_seed_is_refused(seed):
    with pytest.raises(InputError, match="seed = "):
        streams(seed)


def test_what_others_draw_does_not_move_the_requests():
    quiet, busy = streams(3), streams(3)
    busy.routing.random(1000)
    busy.users.random(1000)
    first, second = (synthesize(s, requests=50, arrivals=POISSON, lengths=SHAREGPT) for s in (quiet, busy))

    assert np.array_equal(first.arrival_s, second.arrival_s)
    assert np.array_equal(first.prompt_tokens, second.prompt_tokens)
    assert np.array_equal(first.output_tokens, second.output_tokens)


def test_another_rate_scales_the_arrivals_and_leaves_the_lengths():
    slow = synthesize(streams(3), requests=50, arrivals=POISSON, lengths=SHAREGPT)
    fast = synthesize(streams(3), requests=50, arrivals=arrival_process("poisson", rate_per_s=8.0), lengths=SHAREGPT)

    assert fast.arrival_s == pytest.approx(slow.arrival_s / 2, rel=1e-12)
    assert np.array_equal(fast.prompt_tokens, slow.prompt_tokens)


def test_every_name_can_be_bound():
    assert set(discovery.names(ARRIVALS)) == {
        "poisson",
        "gamma",
        "constant",
        "on_off",
        "bursts",
        "piecewise",
        "diurnal",
        "closed",
    }
    assert set(discovery.names(LENGTHS)) == {"fixed", "lognormal", *TABLES}
    for name in TABLES:
        workload = synthesize(streams(1), requests=100, arrivals=POISSON, lengths=length_source(name), source=name)
        assert workload.source == name


@pytest.mark.parametrize(
    ("bind", "message"),
    [
        (
            lambda: arrival_process("poison", rate_per_s=1),
            "unknown arrival process 'poison'; did you mean 'poisson'?",
        ),
        (lambda: arrival_process("poisson"), "arrival process 'poisson' needs the option 'rate_per_s'"),
        (
            lambda: arrival_process("poisson", rate=1),
            "arrival process 'poisson' has no option 'rate'; did you mean 'rate_per_s'?",
        ),
        (lambda: length_source("share_gpt"), "unknown length source 'share_gpt'; did you mean 'sharegpt'?"),
        (lambda: length_source("fixed", prompt_tokens=1), "needs the option 'output_tokens'"),
        (lambda: length_source("sharegpt", name="azure_conv"), "has no option 'name'"),
        (lambda: length_source("sharegpt", max=3), "length source 'sharegpt' has no option 'max'"),
        (lambda: load_table("azure"), "unknown quantile table 'azure'"),
    ],
)
def test_wrong_names_and_options_are_named(bind, message):
    with pytest.raises(InputError) as caught:
        bind()

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("process", "options"),
    [
        ("poisson", {"rate_per_s": -1.0}),
        ("poisson", {"rate_per_s": "4"}),
        ("constant", {"rate_per_s": float("inf")}),
        ("gamma", {"rate_per_s": 1.0, "burstiness": 0}),
        ("on_off", {"rate_per_s": 1.0, "on_s": 0.0, "off_s": 1.0}),
        ("on_off", {"rate_per_s": 1.0, "on_s": 1.0, "off_s": -1.0}),
        ("bursts", {"rate_per_s": 1.0, "burst_s": 6.0, "every_s": 5.0}),
        ("bursts", {"rate_per_s": 1.0, "burst_s": 0.0, "every_s": 5.0}),
        ("diurnal", {"rate_per_s": 1.0, "amplitude": 1.1}),
        ("piecewise", {"from_s": [0.0, 5.0], "rates_per_s": [1.0]}),
        ("piecewise", {"from_s": [1.0, 5.0], "rates_per_s": [1.0, 2.0]}),
        ("piecewise", {"from_s": [0.0, 5.0], "rates_per_s": [1.0, 0.0]}),
        ("piecewise", {"from_s": [0.0, 5.0], "rates_per_s": [1.0, 2.0], "period_s": 5.0}),
    ],
)
def test_bad_arrival_options_are_refused(process, options):
    with pytest.raises(
        InputError, match=r"(rates?_per_s|burstiness|on_s|off_s|burst_s|amplitude|from_s|period_s) = .*: expected"
    ):
        arrival_process(process, **options).times_s(np.random.default_rng(1), 10)


def test_no_requests_are_refused():
    with pytest.raises(InputError, match="requests = 0: expected a whole number of at least 1"):
        synthesize(streams(1), requests=0, arrivals=POISSON, lengths=SHAREGPT)


def test_fixed_lengths_are_fixed():
    prompt, output = length_source("fixed", prompt_tokens=7, output_tokens=2).tokens(np.random.default_rng(1), 3)

    assert prompt.tolist() == [7] * 3
    assert output.tolist() == [2] * 3


def test_lognormal_bounds_hold_and_must_be_in_order():
    options = {"prompt_mean_tokens": 100, "prompt_cv": 2.0, "output_mean_tokens": 2, "output_cv": 3.0}
    prompt, output = length_source("lognormal", **options, prompt_min_tokens=50, prompt_max_tokens=200).tokens(
        np.random.default_rng(1), 10_000
    )

    assert (prompt.min(), prompt.max()) == (50, 200)
    assert output.min() == 1
    with pytest.raises(InputError, match="output_max_tokens = 3: expected at least output_min_tokens = 4"):
        length_source("lognormal", **options, output_min_tokens=4, output_max_tokens=3).tokens(
            np.random.default_rng(1), 1
        )


def test_a_million_requests_take_less_than_a_second():
    start = time.process_time()
    workload = synthesize(streams(1), requests=1_000_000, arrivals=POISSON, lengths=SHAREGPT)

    assert time.process_time() - start < 1.0
    assert len(workload) == 1_000_000
