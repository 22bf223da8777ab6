"""Reading traces: formats, windows, scaling, order."""

from __future__ import annotations

import gzip
import json
import time

import numpy as np
import pytest

from llmsim.workload.streams import streams
from llmsim.workload.synthetic import arrival_process, length_source, synthesize
from llmsim.workload.traces import read_trace
from places import SCENARIOS

SAMPLES = SCENARIOS / "traces"

CSV = "arrival_s,prompt_tokens,output_tokens\n0.5,10,1\n2,20,2\n1,30,3\n2,40,4\n"
JSONL = (
    '{"arrival_s": 0.5, "prompt_tokens": 10, "output_tokens": 1}\n'
    '{"output_tokens": 2, "arrival_s": 2, "prompt_tokens": 20, "user": "x"}\n'
    '{"arrival_s": 1, "prompt_tokens": 30, "output_tokens": 3}\n'
    '{"arrival_s": 2.0, "prompt_tokens": 40, "output_tokens": 4}'
)
MOONCAKE = (
    '{"timestamp": 500, "input_length": 10, "output_length": 1, "hash_ids": [0]}\n'
    '{"timestamp": 2000, "input_length": 20, "output_length": 2, "hash_ids": [1]}\n'
    '{"timestamp": 1000, "input_length": 30, "output_length": 3, "hash_ids": []}\n'
    '{"timestamp": 2000, "input_length": 40, "output_length": 4}\n'
)


@pytest.fixture
def write(tmp_path):
    def write(text, name="t.trace"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def columns(workload):
    return (
        workload.arrival_s.tolist(),
        workload.prompt_tokens.tolist(),
        workload.output_tokens.tolist(),
    )


@pytest.mark.parametrize(("text", "name"), [(CSV, "csv"), (JSONL, "jsonl"), (MOONCAKE, "mooncake")])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_formats_are_told_by_contents_and_sorted_stably(write, text, name, pack, end):
    path = write(pack(text.replace("\n", end).encode()))
    workload = read_trace(path)

    assert columns(workload) == ([0.5, 1.0, 2.0, 2.0], [10, 30, 20, 40], [1, 3, 2, 4])
    assert workload.source == f"trace t.trace ({name})"
    assert columns(read_trace(path, format=name)) == columns(workload)


def test_azure_dates_of_any_precision_and_zone_count_from_the_earliest(write):
    path = write(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-10 00:00:01.5000000,5,6\n2024-05-10 00:00:01,3,4\n2024-05-10T01:00:04+01:00,7,8\n"
    )

    assert columns(read_trace(path)) == ([0.0, 0.5, 3.0], [3, 5, 7], [4, 6, 8])


def test_columns_may_be_reordered_spaced_quoted_and_more_than_needed(write):
    path = write('\ufeff\nuser, output_tokens ,prompt_tokens,arrival_s\n"a,b", 1,"10",0.5\n\nc,2.0,2e1,1\n')

    assert columns(read_trace(path)) == ([0.5, 1.0], [10, 20], [1, 2])


def test_rate_scale_divides_times(write):
    assert read_trace(write(CSV), rate_scale=2.0).arrival_s.tolist() == [0.5 / 2, 1 / 2, 2 / 2, 2 / 2]


def test_window_is_half_open_and_starts_at_zero(write):
    workload = read_trace(write(CSV), start_s=0.5, duration_s=1.5)

    assert columns(workload) == ([0.5 - 0.5, 1.0 - 0.5], [10, 30], [1, 3])
    assert workload.source == "trace t.trace (csv), window [0.5 s, 2 s)"


def test_window_is_on_the_traces_own_clock_and_limit_counts_in_order_of_arrival(write):
    workload = read_trace(write(CSV), start_s=1.0, rate_scale=4.0, limit=2)

    assert columns(workload) == ([0.0, (2 - 1) / 4], [30, 20], [3, 2])


def test_rows_without_output_are_left_out_and_counted(write):
    workload = read_trace(write(CSV + "0,50,0\n"))

    assert columns(workload) == columns(read_trace(write(CSV)))
    assert workload.source == "trace t.trace (csv), 1 without output left out"


@pytest.mark.parametrize(
    ("file", "seed", "arrivals", "lengths"),
    [
        ("sample_conv.csv", 1, arrival_process("gamma", rate_per_s=5, burstiness=0.8), "azure_conv"),
        ("sample_code.jsonl", 2, arrival_process("on_off", rate_per_s=2.5, on_s=10, off_s=20), "azure_code"),
    ],
)
def test_samples_are_what_their_readme_says(file, seed, arrivals, lengths):
    sample = read_trace(SAMPLES / file)
    made = synthesize(streams(seed), requests=500, arrivals=arrivals, lengths=length_source(lengths))

    assert sample.arrival_s == pytest.approx(made.arrival_s, abs=1e-6)
    assert sample.prompt_tokens.tolist() == made.prompt_tokens.tolist()
    assert sample.output_tokens.tolist() == made.output_tokens.tolist()


def test_a_hundred_thousand_rows_take_well_under_a_second(write):
    rows = "\n".join(f"{i / 7},{i % 999 + 1},{i % 77 + 1}" for i in range(100_000))
    path = write("arrival_s,prompt_tokens,output_tokens\n" + rows)
    start = time.process_time()
    workload = read_trace(path)

    assert time.process_time() - start < 1.0
    assert np.array_equal(workload.arrival_s, np.arange(100_000) / 7)


def test_hash_ids_say_which_prompts_begin_alike(tmp_path):
    rows = [(0, 600, [7, 8]), (1000, 1200, [7, 9, 3]), (2000, 300, None), (3000, 1024, [7, 9])]
    file = tmp_path / "trace.jsonl"
    file.write_text(
        "".join(
            json.dumps({"timestamp": t, "input_length": n, "output_length": 1, **({"hash_ids": ids} if ids else {})})
            + "\n"
            for t, n, ids in rows
        )
    )
    prefixes = read_trace(file, start_s=1.0).prefixes

    assert prefixes.ends.tolist() == [512, 1024, 1200, 512, 1024]
    assert prefixes.start.tolist() == [0, 3, 3, 5]
    assert prefixes.ids[:2].tolist() == prefixes.ids[3:].tolist()
    assert read_trace(file, start_s=2.0, limit=1).prefixes.ids.tolist() == []


def test_a_trace_without_hash_ids_has_no_prefixes(tmp_path):
    file = tmp_path / "trace.jsonl"
    file.write_text('{"timestamp": 0, "input_length": 600, "output_length": 5}\n')

    assert read_trace(file).prefixes is None
