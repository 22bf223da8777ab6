"""Every arrival process, length source and trace format that can be found keeps its contract from its first day."""

from __future__ import annotations

import inspect
import json

import pytest

from llmsim import discovery
from llmsim.testing import check_arrivals, check_lengths
from llmsim.workload.synthetic import ARRIVALS, LENGTHS, find_arrivals, find_lengths
from llmsim.workload.trace_format import RecordFormat, format_names, trace_format
from llmsim.workload.traces import read_trace


@pytest.mark.parametrize("name", discovery.names(ARRIVALS))
def test_an_arrival_process_keeps_the_contract(name):
    process = find_arrivals(name)
    for example in process.examples():
        check_arrivals(example)

    assert not process.steady or all(example.rate_per_s > 0 for example in process.examples())
    assert_frozen_and_described(process)


@pytest.mark.parametrize("name", discovery.names(LENGTHS))
def test_a_length_source_keeps_the_contract(name):
    source = find_lengths(name)
    for example in source.examples():
        check_lengths(example)

    assert_frozen_and_described(source)


ROWS = [name for name in format_names() if not isinstance(trace_format(name), RecordFormat)]


@pytest.mark.parametrize("name", ROWS)
def test_a_trace_of_the_format_is_read_by_its_name_and_known_by_its_columns(name, tmp_path):
    form, file = trace_format(name), tmp_path / "trace"
    arrivals = ["2024-05-01 00:00:00", "2024-05-01 00:00:02"] if form.clock == "date" else [0, 2]
    columns = (*form.columns, *form.marks)
    rows = [(arrival, 30, 4, *(7 for _ in form.marks)) for arrival in arrivals]
    if form.lines == "csv":
        file.write_text("\n".join(",".join(map(str, row)) for row in [columns, *rows]))
    else:
        file.write_text("\n".join(line(dict(zip(columns, row, strict=True))) for row in rows))
    unit_s = {"date": 1, "s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[form.clock]

    for said in (name, "auto"):
        trace = read_trace(file, format=said)
        assert trace.arrival_s.tolist() == [0.0, 2 * unit_s]
        assert trace.prompt_tokens.tolist() == [30, 30]
        assert trace.output_tokens.tolist() == [4, 4]
    assert inspect.getmodule(type(form)).__doc__


#: a record of each format that is no rows: those of packages bring tests of their own
RECORDS = {
    "sharegpt": {"conversations": [{"from": "human", "value": "x" * 120}, {"from": "gpt", "value": "y" * 16}]},
    "mooncake_text": {"timestamp": 0, "text_input": "x" * 120, "output_length": 4},
    "otel": {
        "start_time": "2024-05-01T00:00:00Z",
        "attributes": {"gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": 4},
    },
}


@pytest.mark.parametrize("name", sorted({*format_names()} - {*ROWS}))
def test_a_record_of_the_format_is_read_by_its_name_and_known_by_its_keys(name, tmp_path):
    form, file = trace_format(name), tmp_path / "trace"
    assert [one for one, record in RECORDS.items() if form.recognises(record)] == [name]
    file.write_text(json.dumps(RECORDS[name]))
    for said in (name, "auto"):
        trace = read_trace(file, format=said, tokens_per_character=0.25 if form.reads_text else None)
        assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([30], [4])
    assert inspect.getmodule(type(form)).__doc__


def line(values):
    return "{" + ", ".join(f'"{key}": {value}' for key, value in values.items()) + "}"


def assert_frozen_and_described(part):
    assert part.__dataclass_params__.frozen
    assert part.examples() == part.examples()
    assert inspect.getmodule(part).__doc__, "say in the module what it models"
    assert part.__doc__
