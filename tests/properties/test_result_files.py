"""Result files that were changed at random: no traceback, and no number but those that the file holds.

A naive reader counts requests and tokens straight from the JSON: what ours reads and what it says to have left out make
up the whole, and what a tool printed is the same here, or a reason is given.
"""

from __future__ import annotations

import copy
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmsim.cli.shared_options import Choices
from llmsim.errors import InputError
from llmsim.library.opened import open_results
from tests import result_files as files
from tests.places import cases

REQUESTS = files.asked(8, failed=1)
TEXTS = files.of_every_kind(REQUESTS)
NO_SLO = dict.fromkeys(("ttft_s", "tbt_s", "tpot_s", "e2e_s"))
ODD: tuple[Any, ...] = (
    *(None, True, "", "x", -1, 0, 1.5, -0.0, 1e308, 10**400, 2**63, float("nan"), float("inf"), [], {}, [None], [1]),
    *({"value": None}, "inf", [[]], "1e400", "٣"),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a value, as the keys that lead there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], how: str, new: Any) -> Any:
    """The value with another one at a place, or without it, or with it twice where it stands in a list."""
    if not path:
        return new
    value = copy.deepcopy(value)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    key = path[-1]
    if how == "drop":
        del holder[key]
    elif how == "twice" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    else:
        holder[key] = new
    return value


def parsed(name: str) -> Any:
    text = TEXTS[name]
    if name.endswith("csv"):
        return list(csv.DictReader(io.StringIO(text)))
    return [json.loads(line) for line in text.splitlines()] if name.endswith("jsonl") else json.loads(text)


def written(name: str, value: Any) -> str:
    if name.endswith("csv") and isinstance(value, list) and all(isinstance(row, dict) for row in value):
        text = io.StringIO()
        columns = list(dict.fromkeys(str(key) for row in value for key in row))
        table = csv.writer(text)
        table.writerows([columns, *([row.get(column) for column in columns] for row in value)])
        return text.getvalue()
    rows = isinstance(value, list) and name.endswith("jsonl")
    return files.lines(value) if rows else json.dumps(value)


def scored(file: Path, text: str) -> list[dict[str, Any]] | str:
    """The scores of a file, or the one line that refuses it."""
    file.write_text(text)
    try:
        opened = open_results(file, Choices(slo=NO_SLO, user={}, window=None))
        return [(one.summary() if one.timelines is None else one.score()).to_dict() for one in opened]
    except InputError as error:
        return str(error)


def assert_honest(found: list[dict[str, Any]] | str, file: Path) -> None:
    if isinstance(found, str):
        assert "\n" not in found
        assert str(file) in found
        return
    for one in found:
        json.dumps(one, allow_nan=False)
        for name in ("ttft_s", "tpot_s", "tbt_s", "e2e_s"):
            row = one.get(name)
            if row and row["n"]:
                assert row["mean"] >= 0
        for held in one.get("printed", {}).values():
            same = held["here"] is None or "why" in held
            assert same or held["here"] == pytest.approx(held["tool"], rel=1e-3)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_changed_values(name, tmp_path):
    original = parsed(name)
    everywhere = places(original)

    @settings(max_examples=cases(50), deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.sampled_from(everywhere), st.sampled_from(("drop", "twice", "set", "set")), st.sampled_from(ODD))
    def check(path, how, new):
        assert_honest(scored(tmp_path / name, written(name, changed(original, path, how, new))), tmp_path / name)

    check()


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_cut_and_scrambled_text(name, tmp_path):
    text = TEXTS[name]

    @settings(max_examples=cases(25), deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        st.integers(0, len(text)),
        st.integers(0, 40),
        st.sampled_from(["", "}", "]", ",", "\n", "NaN", '"', "\x00", "é"]),
    )
    def check(at, cut, put):
        assert_honest(scored(tmp_path / name, text[:at] + put + text[at + cut :]), tmp_path / name)

    check()


def naive(run: dict[str, Any]) -> tuple[int, int]:
    """Requests and tokens of those that did not fail, straight from the lists."""
    rows = list(zip(run["output_lens"], run["ttfts"], run["errors"], strict=True))
    return len(rows), sum(n for n, _, error in rows if not error)


@pytest.mark.parametrize("name", ["vllm.json", "sglang.jsonl"])
def test_totals_are_those_of_a_naive_reader(name, tmp_path):
    """Whatever the gaps say (merged chunks, chunks without text, gaps cut off), requests and tokens stay the same."""
    original = parsed(name)
    run = original[0] if isinstance(original, list) else original

    @settings(max_examples=cases(40), deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.data())
    def check(data):
        mine = copy.deepcopy(run)
        for i, gaps in enumerate(mine["itls"]):
            if not mine["errors"][i]:
                keep = data.draw(st.integers(0, len(gaps)))
                more = data.draw(st.lists(st.floats(0, 0.1), max_size=2))
                mine["itls"][i] = [*more, *gaps[:keep]]
        found = scored(tmp_path / name, written(name, [mine] if isinstance(original, list) else mine))

        assert not isinstance(found, str)
        requests, tokens = naive(mine)
        assert found[0]["requests"]["total"] == requests
        assert found[0]["output_tokens"] == tokens
        assert found[0]["output_tokens_per_s"] == pytest.approx(tokens / mine["duration"])

    check()


@pytest.mark.parametrize("name", ["vllm.json", "aiperf.jsonl", "inference-perf-requests.json", "trtllm-requests.json"])
def test_what_is_left_out_is_counted(name, tmp_path):
    """An odd value in some requests: those read and those said to be left out are all that there are."""
    original = parsed(name)

    @settings(max_examples=cases(30), deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.sets(st.integers(0, 6), min_size=1, max_size=5))
    def check(odd):
        value = copy.deepcopy(original)
        for i in odd:
            if name == "vllm.json":
                value["ttfts"][i] = -1.0
            elif name == "aiperf.jsonl":
                value[i]["metrics"]["request_latency"]["value"] = "soon"
            else:
                value[i]["start_time" if "start_time" in value[i] else "start_timestamp"] = None
        found = scored(tmp_path / name, written(name, value))

        assert not isinstance(found, str)
        [note] = [note for note in found[0]["notes"] if "are left out" in note]
        of = 7 if name == "trtllm-requests.json" else 8
        assert note.startswith(f"{len(odd)} of {of} requests are left out: request {min(odd)}")
        assert found[0]["requests"]["total"] == of - len(odd)

    check()
