"""`llmsim trace`: options of the reader, and files that it writes."""

from __future__ import annotations

import json
import tomllib

import pytest
from typer.testing import CliRunner

from llmsim.cli import app
from places import case

LOG = "created_at,in,out\n2024-05-10T00:00:00Z,10,1\n2024-05-10T00:00:02Z,30,3\n"


def llmsim(*words):
    return CliRunner().invoke(app, ["trace", *map(str, words)])


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


@pytest.mark.parametrize(
    "options",
    [
        ["--map", "arrival=created_at,prompt_tokens=in,output_tokens=out"],
        ["--map", "arrival=created_at", "--map", "prompt_tokens = in", "--map", "output_tokens=out"],
    ],
)
def test_columns_are_named(log, options):
    stats = json.loads(llmsim("show", log, "--json", *options).stdout)

    assert (stats["requests"], stats["duration_s"], stats["prompt_tokens"]["total"]) == (2, 2.0, 40)


@pytest.mark.parametrize("text", ["arrival", "=x", "arrival=", "arrival=a,,"])
def test_a_pair_that_is_none_is_named(log, text):
    assert "expected KEY=COLUMN such as arrival=created_at" in str(llmsim("show", log, "--map", text).exception)


def test_convert_writes_what_is_read(log, tmp_path):
    out = tmp_path / "out.jsonl"
    said = llmsim("convert", log, out, "--map", "arrival=created_at,prompt_tokens=in,output_tokens=out").stdout

    assert "2 requests (mooncake)" in said
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"timestamp": 0, "input_length": 10, "output_length": 1},
        {"timestamp": 2000, "input_length": 30, "output_length": 3},
    ]


def test_nothing_is_written_of_a_trace_that_cannot_be_read(log, tmp_path):
    assert llmsim("convert", log, tmp_path / "out.csv").exit_code != 0
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("10-guidellm-mooncake-seconds/trace.jsonl", "are these seconds?"),
        ("11-mooncake-other-blocks/dynamo64.jsonl", "workload.hash_block_tokens = 64"),
        ("26-aiperf-mooncake-fields/no_output.jsonl", "no column 'output_length'"),
    ],
)
def test_cases_that_must_ask(file, message):
    assert message in str(llmsim("show", case(file)).exception)


@pytest.mark.draws
@pytest.mark.parametrize(
    ("file", "options", "expected"),
    [
        ("10-guidellm-mooncake-seconds/trace.jsonl", ["--time-unit", "s"], (50, 9.8)),
        ("11-mooncake-other-blocks/dynamo64.jsonl", ["--hash-block-tokens", "64"], (3, 0.2)),
        ("11-mooncake-other-blocks/bailian16.jsonl", [], (1, 0.0)),
        ("26-aiperf-mooncake-fields/hash_u64.jsonl", [], (1, 0.0)),
        ("26-aiperf-mooncake-fields/multi_turn.jsonl", [], (2, 0.5)),
    ],
)
def test_cases_that_are_read(file, options, expected):
    stats = json.loads(llmsim("show", case(file), "--json", *options).stdout)

    assert (stats["requests"], round(stats["duration_s"], 9)) == expected


def test_fit_says_how_far_it_is_and_draws_both(tmp_path):
    """Requests that come in pairs have no gamma gaps, as a line says; lengths of two kinds make two classes."""
    file, picture = tmp_path / "pairs.csv", tmp_path / "fit.png"
    rows = [f"{i // 2 * 10},{(20, 4000)[i % 4 > 1] + i % 9},{(400, 30)[i % 4 > 1] + i % 7}" for i in range(800)]
    file.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *rows]))

    said = llmsim("fit", file, "--picture", picture).stdout

    assert "gaps are not like the trace's: where they matter, run the trace itself" in said
    assert len(tomllib.loads(said)["workload"]["classes"]) > 1
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [llmsim("fit", file, "--classes", n).stdout.count("[[workload.classes]]") for n in ("1", "2")] == [0, 2]


def test_what_is_written_follows_the_name_or_is_asked_for(log, tmp_path):
    names = ["--map", "arrival=created_at,prompt_tokens=in,output_tokens=out"]

    assert "(mooncake)" in llmsim("convert", log, tmp_path / "out.jsonl", *names).stdout
    assert "(csv)" in llmsim("convert", log, tmp_path / "out.csv", *names).stdout
    assert "expected a name in .csv" in str(llmsim("convert", log, tmp_path / "out.parquet", *names).exception)
    assert not (tmp_path / "out.parquet").exists()
