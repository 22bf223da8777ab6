"""Mutated traces of each format against a reader of a few lines: the same totals, or one line on what is wrong."""

from __future__ import annotations

import csv
import io
import json
import math
import random

import pytest

from llmsim.errors import InputError
from llmsim.workload.trace_format import format_names, trace_format
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


def outcome(path, name):
    """The workload, or the message of its refusal."""
    try:
        return read_trace(path, format=name)
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("name", format_names())
def test_a_mutated_trace_keeps_its_totals_or_is_refused_in_one_line(name, tmp_path):
    form, rng, read = trace_format(name), random.Random(name), 0
    path = tmp_path / "trace"
    for _ in range(MUTANTS):
        text = mutated(form, rng)
        path.write_bytes(text.encode())
        workload = outcome(path, name)
        if isinstance(workload, str):
            assert "\n" not in workload
            assert workload.startswith(str(path))
            continue
        read += 1
        assert (len(workload), workload.prompt_tokens.sum(), workload.output_tokens.sum()) == naive(form, text), text
        assert all(math.isfinite(at) and at >= 0 for at in workload.arrival_s)

    assert 0.25 * MUTANTS < read < 0.9 * MUTANTS
