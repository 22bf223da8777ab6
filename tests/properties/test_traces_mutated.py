"""Mutated traces of each format against a reader of a few lines: the same totals, or one line on what is wrong."""

from __future__ import annotations

import csv
import io
import json
import math
import random

import pytest

from llmsim.errors import InputError
from llmsim.workload.prefixes import seen_before
from llmsim.workload.trace_clock import PER_SECOND
from llmsim.workload.trace_format import RecordFormat, format_names, trace_format
from llmsim.workload.traces import read_trace

MUTANTS = 200
#: what a field may become: fine, odd, or none
VALUES = [
    "0",
    "7",
    "7.0",
    "1e2",
    "-1",
    "",
    "x",
    "nan",
    "inf",
    "null",
    "true",
    "12.5",
    "99999999999999999999",
    " 3 ",
    '"4"',
]
DATES = ["2024-05-10 00:00:07", "2024-05-10T02:00:07+02:00", "2024-05-10 00:00:07.25Z", "2024-13-01 00:00:00", "7"]


def rows_of(form, rng):
    """A few rows in order of time: one text for each field."""
    times = sorted(rng.randrange(0, 50) for _ in range(rng.randrange(1, 8)))
    if form.clock == "date":
        arrivals = [f"2024-05-10 00:00:{at:02d}.5" for at in times]
    else:
        arrivals = [str(at * 100) for at in times]
    marks = ["1"] * len(form.marks)
    return [[at, str(rng.randrange(1, 900)), str(rng.randrange(0, 90)), *marks] for at in arrivals]


def mutated(form, rng):
    """The text of a small trace with one fault, or none."""
    names, rows = [*form.columns, *form.marks], rows_of(form, rng)
    for _ in range(rng.randrange(0, 3)):
        at = rng.randrange(3)
        row = rng.choice(rows)
        row[at] = rng.choice(DATES if at == 0 and form.clock == "date" else VALUES)
    if rng.random() < 0.2:
        rng.shuffle(rows)
    end = rng.choice(["\n", "\n", "\r\n", "\n\n"])
    if form.lines == "csv":
        text = end.join(",".join(row) for row in [names, *rows])
    else:
        text = end.join("{" + ", ".join(f'"{n}": {v}' for n, v in zip(names, row, strict=True)) + "}" for row in rows)
    if rng.random() < 0.2:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(["", ",", "}", "\n", "ä", "\t"]) + text[at + rng.randrange(3) :]
    return text


def naive(form, text):
    """Requests with output, prompt and output tokens of a whole file: None if any row has a number that is none."""
    text = "\n".join(text.splitlines())
    if form.lines == "csv":
        header, *lines = [row for row in csv.reader(io.StringIO(text)) if row]
        rows = [dict(zip([name.strip() for name in header], row, strict=True)) for row in lines]
    else:
        rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    counts = [(float(row[form.prompt]), float(row[form.output])) for row in rows]
    served = [(prompt, output) for prompt, output in counts if output > 0]
    return len(served), sum(prompt for prompt, _ in served), sum(output for _, output in served)


def outcome(path, **options):
    """The workload, or the message of its refusal: one line that begins with the file."""
    try:
        return read_trace(path, **options)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert said.startswith(str(path))
    return said


ROWS = [name for name in format_names() if not isinstance(trace_format(name), RecordFormat)]


@pytest.mark.parametrize("name", ROWS)
def test_a_mutated_trace_keeps_its_totals_or_is_refused_in_one_line(name, tmp_path):
    form, rng, read = trace_format(name), random.Random(name), 0
    path = tmp_path / "trace"
    for _ in range(MUTANTS):
        text = mutated(form, rng)
        path.write_bytes(text.encode())
        workload = outcome(path, format=name)
        if isinstance(workload, str):
            continue
        read += 1
        assert (len(workload), workload.prompt_tokens.sum(), workload.output_tokens.sum()) == naive(form, text), text
        assert all(math.isfinite(at) and at >= 0 for at in workload.arrival_s)

    assert 0.25 * MUTANTS < read < 0.9 * MUTANTS


#: what a field of hashes, of a session or of a delay may become
ODD = [None, [], [1], [1, 2, 3, 4, 5, 6, 7, 8, 9], [None], "a", 3, -1, 2**63, [2**64], [-(2**63)], True, 0.5, {}]


def conversations(rng):
    """Rows of Mooncake's kin in order of time, with prompts that begin alike and turns that wait; one odd field."""
    rows, at = [], 0
    for _ in range(rng.randrange(1, 7)):
        at += rng.randrange(0, 900)
        tokens = rng.randrange(1, 2000)
        row = {"timestamp": at, "input_length": tokens, "output_length": rng.randrange(0, 50)}
        if rng.random() < 0.7:
            row["hash_ids"] = [rng.randrange(3) for _ in range(math.ceil(tokens / 512))]
        if rng.random() < 0.6:
            row["session_id"] = rng.choice("ab")
            row |= {"delay": rng.randrange(0, 400)} if rng.random() < 0.5 else {}
        rows.append(row)
    if rng.random() < 0.6:
        rng.choice(rows)[rng.choice(["hash_ids", "session_id", "delay"])] = rng.choice(ODD)
    return rows


def naive_blocks(rows):
    """Blocks that some earlier request with output began with, hash by hash from the start; and all blocks."""
    seen, hits, blocks = set(), 0, 0
    for row in rows:
        hashes = row.get("hash_ids") or []
        beginnings = [tuple(hashes[: n + 1]) for n in range(len(hashes))]
        hits += sum(each in seen for each in beginnings)
        blocks += len(beginnings)
        seen.update(beginnings)
    return hits, blocks


def naive_turns(rows):
    """(place of the turn before, seconds between) of each row in the file's order, for those that wait."""
    last, waits = {}, []
    for i, row in enumerate(rows):
        session = row.get("session_id")
        if session not in (None, "") and session in last and row.get("delay") is not None:
            waits.append((last[session], row["delay"] / 1e3))
        if session not in (None, ""):
            last[session] = i
    return sorted(wait for _, wait in waits)


def test_mutated_hashes_and_conversations_are_those_of_a_naive_reader(tmp_path):
    rng, read = random.Random("conversations"), 0
    path = tmp_path / "trace"
    for _ in range(MUTANTS):
        rows = conversations(rng)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        workload = outcome(path, format="mooncake")
        if isinstance(workload, str):
            continue
        read += 1
        served = [row for row in rows if row["output_length"] > 0]
        assert sorted(workload.prompt_tokens.tolist()) == sorted(row["input_length"] for row in served)
        waits = [] if workload.sessions is None else workload.sessions.think_s[workload.sessions.after >= 0]
        assert sorted(waits) == pytest.approx(naive_turns(served)), rows
        if workload.sessions is None and workload.prefixes is not None:
            in_order = sorted(served, key=lambda row: row["timestamp"])
            hits = int(seen_before(workload.prefixes).sum())
            assert (hits, len(workload.prefixes.ids)) == naive_blocks(in_order), rows

    assert 0.4 * MUTANTS < read < 0.95 * MUTANTS


def test_mutated_names_units_and_delimiters(tmp_path):
    """Columns of any name in any order, times in any unit, fields between any marks: the same load, or a refusal."""
    rng, read = random.Random("columns"), 0
    path = tmp_path / "trace"
    for _ in range(MUTANTS):
        names = rng.sample(["created_at", "in", "out", "Prompt Tokens", "t_ms", "x;y", "model", "é"], 4)
        unit = rng.choice(list(PER_SECOND))
        rows = [[round(at * PER_SECOND[unit]), rng.randrange(1, 99), rng.randrange(0, 9), 1] for at in range(4)]
        if rng.random() < 0.4:
            rng.choice(rows)[rng.randrange(3)] = rng.choice(["", "x", -1, 0.5, "nan", "1,5", 7])
        order = rng.sample(range(4), 4)
        mark = rng.choice([",", ";", "\t", "|"])
        text = io.StringIO()
        table = csv.writer(text, delimiter=mark, lineterminator="\n")
        table.writerows([[row[i] for i in order] for row in (names, *rows)])
        path.write_text(text.getvalue())
        keys = dict(zip(("arrival", "prompt_tokens", "output_tokens"), names, strict=False))
        workload = outcome(path, columns=keys, time_unit=unit)
        if isinstance(workload, str):
            continue
        read += 1
        served = [row for row in rows if float(row[2]) > 0]
        assert workload.prompt_tokens.sum() == sum(float(row[1]) for row in served)
        assert workload.output_tokens.sum() == sum(float(row[2]) for row in served)
        assert workload.arrival_s.tolist() == pytest.approx(sorted(float(row[0]) / PER_SECOND[unit] for row in served))

    assert 0.5 * MUTANTS < read < 0.95 * MUTANTS


def record(name, rng):
    """A record of a format, and the tokens of its requests as it tells them: at a quarter a character."""
    prompt, output = rng.randrange(1, 200), rng.randrange(1, 40)
    if name == "sharegpt":
        said = [{"from": "human", "value": "x" * 4 * prompt}, {"from": "gpt", "value": "y" * 4 * output}]
        return {"id": "a", "conversations": said}, (prompt, output)
    if name == "mooncake_text":
        return {"timestamp": rng.randrange(9), "text_input": "x" * 4 * prompt, "output_length": output}, (
            prompt,
            output,
        )
    usage = {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": output}
    listed = [{"key": key, "value": {"intValue": str(value)}} for key, value in usage.items()]
    one = {"spanId": str(rng.random()), "startTimeUnixNano": str(10**18 + rng.randrange(9)), "attributes": listed}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}, (prompt, output)


def places(value, path=()):
    """Every place in a value, as the keys that lead there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


@pytest.mark.parametrize("name", ["sharegpt", "mooncake_text", "otel"])
def test_mutated_records_keep_their_totals_or_are_refused_in_one_line(name, tmp_path):
    rng, read = random.Random(name), 0
    path = tmp_path / "trace"
    options = {} if name == "otel" else {"tokens_per_character": 0.25}
    for _ in range(MUTANTS):
        records, tokens = zip(*(record(name, rng) for _ in range(3)), strict=True)
        whole = rng.random() < 0.4
        if not whole:
            *keys, last = rng.choice(places(records[1])[1:])
            holder = records[1]
            for key in keys:
                holder = holder[key]
            holder[last] = rng.choice(ODD)
        array = rng.random() < 0.5
        path.write_text(json.dumps(records) if array else "".join(json.dumps(one) + "\n" for one in records))
        workload = outcome(path, format=name, **options)
        if isinstance(workload, str):
            assert not whole
            continue
        read += 1
        found = sorted(zip(workload.prompt_tokens.tolist(), workload.output_tokens.tolist(), strict=True))
        assert set(found) >= {tokens[0], tokens[2]}
        assert not whole or found == sorted(tokens)

    assert read > 0.4 * MUTANTS
