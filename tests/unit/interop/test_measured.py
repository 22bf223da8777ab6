"""Measured files in: what they say, and one clear line where they are broken."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmsim.errors import InputError
from llmsim.interop.format import read_measured
from llmsim.request import Outcome

ENTRIES = [
    {"arrival_s": 100.0, "token_times_s": [100.5, 101.0]},
    {"arrival_s": 101.0, "token_times_s": [], "end_s": 104.0, "outcome": "cancelled", "output_tokens": 9},
]
BENCH: dict[str, Any] = {
    "duration": 4.0,
    "input_lens": [7, 8, 9],
    "output_lens": [3, 1, 0],
    "ttfts": [0.5, 0.25, 0.0],
    "itls": [[0.25, 0.5], [], []],
    "start_times": [11.0, 10.0, 12.0],
    "errors": ["", "", "Connection reset"],
}


def read_timelines(file: Path):
    return read_measured(file, kind="timelines")


def read_vllm_bench(file: Path):
    return read_measured(file, kind="vllm_bench")


def read_sglang_bench(file: Path, run: int | None = None):
    return read_measured(file, run, kind="sglang_bench")


def written(folder: Path, content: object) -> Path:
    file = folder / "measured.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_timelines(tmp_path: Path) -> None:
    found = read_timelines(written(tmp_path, ENTRIES)).timelines

    assert found.arrival_s.tolist() == [0.0, 1.0]
    assert found.token_times_s(0).tolist() == [0.5, 1.0]
    assert found.end_s.tolist() == [1.0, 4.0]
    assert found.outcome.tolist() == [Outcome.FINISHED, Outcome.CANCELLED]
    assert found.output_tokens.tolist() == [2, 9]


def test_vllm(tmp_path: Path) -> None:
    measured = read_vllm_bench(written(tmp_path, BENCH))
    found = measured.timelines

    assert found.arrival_s.tolist() == [1.0, 0.0, 2.0]
    assert found.token_times_s(0).tolist() == [1.0 + 0.5, 1.0 + 0.75, 1.0 + 1.25]
    assert found.token_times_s(1).tolist() == [0.25]
    assert found.outcome.tolist() == [Outcome.FINISHED, Outcome.FINISHED, Outcome.ABANDONED]
    assert found.prompt_tokens.tolist() == [7, 8, 9]
    assert (measured.window.kind, measured.window.duration_s) == ("makespan", 4.0)


def test_sglang_has_no_send_times(tmp_path: Path) -> None:
    undated = {key: value for key, value in BENCH.items() if key != "start_times"}
    file = written(tmp_path, json.dumps(undated) + "\n" + json.dumps(undated | {"duration": 8.0}) + "\n")
    measured = read_sglang_bench(file, run=2)

    assert measured.timelines.arrival_s.tolist() == [0.0, 0.0, 0.0]
    assert measured.timelines.token_times_s(0).tolist() == [0.5, 0.75, 1.25]
    assert (measured.window.kind, measured.window.duration_s, measured.dated) == ("makespan", 8.0, False)
    with pytest.raises(InputError, match="holds 2 runs; say which: --run 1 to --run 2"):
        read_sglang_bench(file)
    with pytest.raises(InputError, match="expected 1 to 2"):
        read_sglang_bench(file, run=3)


def entry(**changes: object) -> list[dict[str, object]]:
    return [ENTRIES[0], ENTRIES[0] | changes]


TIMELINES = [
    (entry(token_times_s=[101.0, 100.5]), "request 1, token_times_s[1]: negative gap"),
    (entry(token_times_s=[99.0]), "request 1, token_times_s[0]: negative gap: 1 s before the arrival"),
    (entry(token_times_s=[101.0, float("nan")]), "request 1, token_times_s[1]: expected a finite number"),
    (entry(token_times_s=[10**400]), "a whole number of 401 digits, expected at most 20"),
    (entry(token_times_s=["1"]), 'request 1, token_times_s[0]: expected a number of seconds, got "1"'),
    (entry(token_times_s=7), "request 1, token_times_s: expected a list"),
    (entry(arrival_s=None), "request 1, arrival_s: expected a number"),
    (entry(arrival_s=True), "request 1, arrival_s: expected a number"),
    (entry(end_s=100.75), "request 1, end_s: 100.75 s is before the last token"),
    (entry(outcome="canceled"), "request 1, outcome: unknown \"canceled\"; did you mean 'cancelled'?"),
    (entry(outcome="rejected"), "request 1, outcome: rejected, but has 2 tokens"),
    (entry(output_tokens=1), "request 1, output_tokens: 1, but 2 were delivered"),
    (entry(arival_s=1.0), "request 1, arival_s: unknown key; did you mean 'arrival_s'?"),
    ([ENTRIES[0], {"arrival_s": 1.0}], "request 1, token_times_s: is missing"),
    ([ENTRIES[0], 3], "request 1: expected an object"),
    ([], "holds no requests"),
    ({}, "expected a list of requests"),
    (json.dumps(ENTRIES)[:-20], "not valid JSON"),
    ("[" * 100_000, "more than 100 deep"),
    ("", "the file is empty"),
]


def bench(**changes: object) -> dict[str, object]:
    return BENCH | changes


#: what is wrong with one request: it is left out, and the file is read; without others it is refused
ODD = [
    (bench(itls=[[0.25, -0.5], [], []]), "request 0, itls[1]: negative gap of -0.5 s"),
    (bench(itls=[[0.25, float("nan")], [], []]), "request 0, itls[1]: expected a finite number"),
    (bench(itls=[0.25, [], []]), "request 0, itls: expected a list"),
    (bench(ttfts=[None, 0.25, 0.0]), "request 0, ttfts: expected a number of seconds, got null"),
    (bench(ttfts=[-0.5, 0.25, 0.0]), "request 0, ttfts: expected 0 or more seconds"),
    (bench(output_lens=[3.5, 1, 0]), "request 0, output_lens: expected a whole number"),
    (bench(start_times=["x", 1, 2]), "request 0, start_times: expected a number"),
    (bench(input_lens=[-7, 8, 9]), "request 0, input_lens: expected a whole number"),
]
VLLM = [
    (bench(itls=[[0.25, 0.5], []]), "itls: 2 entries, but ttfts has 3; request 2 is cut off"),
    (bench(ttfts=0.5), "ttfts: expected a list with one entry per request"),
    (bench(duration="long"), "the run, duration: expected a number of seconds"),
    ({key: value for key, value in BENCH.items() if key not in ("itls", "ttfts")}, "neither requests nor results"),
    ({key: [] for key in BENCH}, "holds no requests"),
    ([3], "expected one JSON object for each run, got 3"),
    ([], "holds no runs"),
]


@pytest.mark.parametrize(("content", "message"), ODD)
@pytest.mark.parametrize("reader", [read_vllm_bench, read_sglang_bench])
def test_an_odd_request_is_left_out_and_said(
    tmp_path: Path, reader: Callable[[Path], object], content: dict[str, Any], message: str
) -> None:
    measured = reader(written(tmp_path, content))

    assert len(measured.timelines) == 2
    assert measured.timelines.prompt_tokens.tolist() == [8, 9]
    assert measured.notes[0].startswith(f"1 of 3 requests are left out: {message}")


@pytest.mark.parametrize(("content", "message"), ODD)
def test_a_file_of_odd_requests_alone_is_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    alone = {key: value[:1] if isinstance(value, list) else value for key, value in content.items()}

    with pytest.raises(InputError, match=re.escape(message)):
        read_vllm_bench(written(tmp_path, alone))


@pytest.mark.parametrize(
    ("reader", "content", "message"),
    [(read_timelines, *case) for case in TIMELINES]
    + [(read_vllm_bench, *case) for case in VLLM]
    + [(read_sglang_bench, *case) for case in VLLM[:-1]]
    + [
        (read_sglang_bench, "\n\n", "the file is empty"),
        (read_sglang_bench, "[1]\n", "expected one JSON object for each run, got 1"),
    ],
)
def test_a_broken_file_gets_one_clear_line(
    tmp_path: Path, reader: Callable[[Path], object], content: object, message: str
) -> None:
    file = written(tmp_path, content)
    with pytest.raises(InputError) as caught:
        reader(file)

    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", [read_timelines, read_vllm_bench, read_sglang_bench])
def test_unreadable_files(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        reader(tmp_path / "absent.json")
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        reader(binary)


def test_a_failed_request_keeps_the_tokens_it_got(tmp_path: Path) -> None:
    broken_off = bench(itls=[[0.25, 0.5], [], [0.5]], ttfts=[0.5, 0.25, 1.0])
    found = read_vllm_bench(written(tmp_path, broken_off)).timelines

    assert found.token_times_s(2).tolist() == [2.0 + 1.0, 2.0 + 1.5]
    assert found.outcome[2] == Outcome.ABANDONED
