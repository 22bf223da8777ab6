"""Log-normal lengths against theory, and quantile tables against the data that they came from."""

from __future__ import annotations

import json
from importlib.resources import files
from math import log, pi, sqrt

import numpy as np
import pytest

from llmsim.workload.quantile_sources import SOURCES, make_table, rank_correlation
from llmsim.workload.quantile_table import TABLES, derive_quantiles
from llmsim.workload.synthetic import length_source
from places import DATA, needs

N = 100_000
needs_data = needs("traces")


@pytest.mark.parametrize("cv", [0.3, 1.0, 2.0])
def test_lognormal_has_the_mean_and_median_of_theory(cv):
    prompt, output = length_source(
        "lognormal", prompt_mean_tokens=2000.0, prompt_cv=cv, output_mean_tokens=500.0, output_cv=cv
    ).tokens(np.random.default_rng(1), N)
    sigma = sqrt(log(1 + cv**2))

    for tokens, mean in ((prompt, 2000.0), (output, 500.0)):
        assert tokens.mean() == pytest.approx(mean, abs=4 * mean * cv / sqrt(N) + 0.05)
        median = mean / sqrt(1 + cv**2)
        assert np.median(tokens) == pytest.approx(median, abs=4 * median * sigma * sqrt(pi / 2 / N) + 0.5)
    assert abs(rank_correlation(prompt, output)) < 4 / sqrt(N)


def test_table_of_a_known_joint_distribution_gives_it_back():
    # Prompt uniform on [0, 2000], output on [0, prompt]: means 1000 and 500; 125 below prompt 500.
    rng = np.random.default_rng(2)
    prompt = 1 + rng.integers(0, 2000, N)
    output = 1 + (rng.random(N) * prompt).astype(np.int64)
    drawn_prompt, drawn_output = derive_quantiles(prompt, output).draw(np.random.default_rng(3), N)

    assert drawn_prompt.mean() == pytest.approx(1000, rel=0.01)
    assert drawn_output.mean() == pytest.approx(500, rel=0.015)
    assert drawn_output[drawn_prompt < 500].mean() == pytest.approx(125, rel=0.03)
    assert rank_correlation(drawn_prompt, drawn_output) == pytest.approx(rank_correlation(prompt, output), abs=0.01)


@needs_data
@pytest.mark.parametrize("name", TABLES)
def test_draws_match_the_source_within_a_few_per_cent(name):
    observed = SOURCES[name].read(DATA)
    drawn = length_source(name).tokens(np.random.default_rng(4), N)

    for real, made in zip(observed, drawn, strict=True):
        assert made.mean() == pytest.approx(real.mean(), rel=0.02)
        for q in (50, 90, 99):
            assert np.percentile(made, q) == pytest.approx(np.percentile(real, q), rel=0.04)
    assert rank_correlation(*drawn) == pytest.approx(rank_correlation(*observed), abs=0.02)


@needs_data
@pytest.mark.parametrize("name", TABLES)
def test_shipped_table_is_what_its_source_gives(name):
    shipped = json.loads(files("llmsim.workload").joinpath("quantiles", f"{name}.json").read_text("utf-8"))
    made = json.loads(make_table(name, DATA))

    shipped.pop("fidelity")  # drawn at random: compared above, with a tolerance
    made.pop("fidelity")
    assert shipped == made
