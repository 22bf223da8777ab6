"""Traces that are written are read back as they were, and fitted tables draw requests like them."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.workload.contract import Workload
from llmsim.workload.streams import streams
from llmsim.workload.synthetic import arrival_process, length_source, synthesize
from llmsim.workload.trace_fit import distance, fit
from llmsim.workload.trace_write import WRITTEN, trace_lines
from llmsim.workload.traces import read_trace
from places import DATA, SCENARIOS, needs

ROWS = [
    {"timestamp": 0, "input_length": 130, "output_length": 5, "hash_ids": [1, 2, 3]},
    {"timestamp": 700, "input_length": 100, "output_length": 6, "hash_ids": [1, 9]},
    {"timestamp": 2500, "input_length": 60, "output_length": 7, "hash_ids": [1]},
]
UNITS = {"csv": None, "mooncake": None, "aiperf": "ms", "guidellm": "s"}


def written(workload, form, path):
    lines, said = trace_lines(workload, form)
    path.write_text("".join(f"{line}\n" for line in lines))
    return said


def columns(workload):
    return [each.tolist() for each in (workload.arrival_s, workload.prompt_tokens, workload.output_tokens)]


@pytest.mark.parametrize("form", WRITTEN)
def test_what_is_written_is_read_back(tmp_path, form):
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    workload = read_trace(source, hash_block_tokens=64)
    said = written(workload, form, tmp_path / "out")
    back = read_trace(tmp_path / "out", time_unit=UNITS[form], hash_block_tokens=64)

    assert columns(back) == columns(workload)
    if form == "csv":
        assert said == ["csv has no hash_ids: which prompts begin alike is left out"]
    else:
        assert "hash_ids are blocks of 64 tokens (hash_block_tokens)" in said
        assert [part.tolist() for i in range(3) for part in back.prefixes.of(i)] == [
            part.tolist() for i in range(3) for part in workload.prefixes.of(i)
        ]


@pytest.mark.parametrize("form", ["aiperf", "guidellm", "csv"])
def test_times_of_the_samples_come_back(tmp_path, form):
    workload = read_trace(SCENARIOS / "traces" / "sample_conv.csv")
    written(workload, form, tmp_path / "out")
    back = read_trace(tmp_path / "out", time_unit=UNITS[form])

    assert np.abs(back.arrival_s - workload.arrival_s).max() <= 1e-9
    assert columns(back)[1:] == columns(workload)[1:]


def test_turns_go_to_aiperf_alone(tmp_path):
    source = tmp_path / "in.jsonl"
    turns = [
        {"session_id": "x", "timestamp": 0, "input_length": 10, "output_length": 1},
        {"session_id": "x", "delay": 40.5, "input_length": 20, "output_length": 2},
        {"timestamp": 10, "input_length": 30, "output_length": 3},
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in turns))
    workload = read_trace(source)
    written(workload, "aiperf", tmp_path / "out")
    back = read_trace(tmp_path / "out", time_unit="ms")

    assert columns(back) == columns(workload)
    assert back.sessions.after.tolist() == workload.sessions.after.tolist()
    assert back.sessions.think_s.tolist() == workload.sessions.think_s.tolist()
    with pytest.raises(InputError, match="turns wait for the end of others, which 'csv' cannot say; use 'aiperf'"):
        trace_lines(workload, "csv")


def test_an_unknown_form_is_named():
    with pytest.raises(InputError, match="unknown trace to write 'moncake'; did you mean 'mooncake'"):
        trace_lines(read_trace(SCENARIOS / "traces" / "sample_conv.csv"), "moncake")


@needs("traces/mooncake/conversation_trace.jsonl.gz")
def test_mooncakes_own_trace_comes_back(tmp_path):
    workload = read_trace(DATA / "traces/mooncake/conversation_trace.jsonl.gz", limit=2000)
    written(workload, "mooncake", tmp_path / "out")
    back = read_trace(tmp_path / "out")

    assert columns(back) == columns(workload)
    same = (
        np.unique(workload.prefixes.ids, return_inverse=True)[1],
        np.unique(back.prefixes.ids, return_inverse=True)[1],
    )
    assert len(np.unique(np.stack(same), axis=1).T) == same[0].max() + 1 == same[1].max() + 1


def test_a_fitted_table_draws_the_rate_and_lengths_it_was_fitted_to():
    """Moments of gamma gaps and lognormal lengths are those that they were drawn with."""
    arrivals = arrival_process("gamma", rate_per_s=4.0, burstiness=0.25)
    given = {"prompt_mean_tokens": 800.0, "prompt_cv": 0.5, "output_mean_tokens": 200.0, "output_cv": 1.0}
    drawn = synthesize(streams(1), requests=20_000, arrivals=arrivals, lengths=length_source("lognormal", **given))
    table = tomllib.loads(fit(drawn).to_toml())["workload"]

    assert table["requests"] == 20_000
    assert table["arrivals"]["process"] == "gamma"
    assert table["arrivals"]["rate_per_s"] == pytest.approx(4.0, rel=0.06)
    assert table["arrivals"]["burstiness"] == pytest.approx(0.25, rel=0.1)
    for key, value in given.items():
        assert table["lengths"][key] == pytest.approx(value, rel=0.05)
    assert "classes" not in table


def test_a_mixture_is_fitted_by_classes():
    """Chat and documents, two to one: neither one's lengths are those of a lognormal of all."""
    chat = length_source("lognormal", prompt_mean_tokens=100.0, prompt_cv=0.4, output_mean_tokens=300.0, output_cv=0.4)
    document = length_source(
        "lognormal", prompt_mean_tokens=9000.0, prompt_cv=0.3, output_mean_tokens=40.0, output_cv=0.5
    )
    rng = np.random.default_rng(3)
    parts = [chat.tokens(rng, 4000), document.tokens(rng, 2000)]
    prompts, outputs = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = rng.permutation(6000)
    mixed = Workload(np.cumsum(rng.exponential(0.2, 6000)), prompts[order], outputs[order], "mixed")

    found = fit(mixed)

    assert [one.share for one in found.classes] == pytest.approx([2 / 3, 1 / 3], abs=0.01)
    assert [one.prompt_mean_tokens for one in found.classes] == pytest.approx([100, 9000], rel=0.03)
    assert [one.output_mean_tokens for one in found.classes] == pytest.approx([300, 40], rel=0.03)
    table = tomllib.loads(found.to_toml())["workload"]
    assert [one["weight"] for one in table["classes"]] == pytest.approx([2 / 3, 1 / 3], abs=0.01)
    assert len(fit(mixed, classes=1).classes) == 1


def test_the_distance_of_distributions_by_hand():
    one, other = np.array([1, 2, 3, 4]), np.array([3, 4, 5, 6])

    assert distance(one, one) == 0.0
    assert distance(one, other) == distance(other, one) == 0.5
    assert distance(one, other + 10) == 1.0


def test_a_burst_has_no_rate_to_fit(tmp_path):
    path = tmp_path / "burst.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens\n1,2,3\n1,4,5\n")
    with pytest.raises(InputError, match="all requests arrive at once"):
        fit(read_trace(path))
