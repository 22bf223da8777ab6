"""What a trace does not say: names of columns, units, block sizes, conversations."""

from __future__ import annotations

import json
import textwrap

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.workload.sessions import NO_REQUEST
from llmsim.workload.traces import read_trace

UNIX_S = 1_715_299_200  # 2024-05-10 00:00 UTC
LOG = "created_at,tokens_in,tokens_out\n"
NAMES = {"arrival": "created_at", "prompt_tokens": "tokens_in", "output_tokens": "tokens_out"}
MOON = {"timestamp": 0, "input_length": 640, "output_length": 5}


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "trace"
        path.write_text(text if isinstance(text, str) else "".join(json.dumps(row) + "\n" for row in text))
        return path

    return write


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("2024-05-10T00:00:00Z", "2024-05-10T02:00:01.5+02:00", ""),
        ("2024-05-10 00:00:00", "2024-05-10 00:00:01.5", ""),
        (f"{UNIX_S}", f"{UNIX_S}.5", "created_at in seconds by its size"),
        (f"{UNIX_S}000", f"{UNIX_S}500", "created_at in milliseconds by its size"),
        (f"{UNIX_S}000000", f"{UNIX_S}500000", "created_at in microseconds by its size"),
        (f"{UNIX_S}000000000", f"{UNIX_S}500000000", "created_at in nanoseconds by its size"),
        ("3", "3.5", "created_at taken as seconds; workload.time_unit says otherwise"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_named_columns_have_the_unit_of_their_first_value(write, kind, first, second, said):
    if kind == "csv":
        path = write(LOG + f"{first},10,1\n{second},20,2\n")
    else:
        values = [each if "-" in each else float(each) for each in (first, second)]
        path = write(
            [{"created_at": at, "tokens_in": n, "tokens_out": n / 10} for at, n in zip(values, (10, 20), strict=True)]
        )
    workload = read_trace(path, columns=NAMES)
    gap_s = 1.5 if "-" in first else 0.5

    assert np.diff(workload.arrival_s).tolist() == [gap_s]
    assert workload.arrival_s[0] == (3.0 if first == "3" else 0.0)
    assert workload.prompt_tokens.tolist() == [10, 20]
    assert said in workload.source
    assert ("times from 2024-05-10 00:00:00 UTC" in workload.source) == first.startswith("1715")


@pytest.mark.parametrize(("unit", "per_s"), [("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_a_unit_that_is_said_is_taken(write, unit, per_s):
    path = write(LOG + "0,10,1\n1500,20,2\n")

    assert read_trace(path, columns=NAMES, time_unit=unit).arrival_s.tolist() == [0.0, 1500 / per_s]


@pytest.mark.parametrize(
    ("column", "per_s"), [("t_ms", 1e3), ("sent_seconds", 1), ("arrived_ns", 1e9), ("x_micros", 1e6)]
)
def test_a_unit_in_the_name_is_taken_and_said(write, column, per_s):
    workload = read_trace(
        write(f"{column},prompt_tokens,output_tokens\n0,10,1\n1500,20,2\n"), columns={"arrival": column}
    )

    assert workload.arrival_s.tolist() == [0.0, 1500 / per_s]
    assert "by its name" in workload.source


def test_known_formats_since_1970_are_shifted_and_said(write):
    workload = read_trace(write(f"arrival_s,prompt_tokens,output_tokens\n{UNIX_S + 2},1,1\n{UNIX_S},1,1\n"))

    assert workload.arrival_s.tolist() == [0.0, 2.0]
    assert "times from 2024-05-10 00:00:00 UTC" in workload.source


def test_seconds_since_1970_under_a_name_for_milliseconds_are_asked_about(write):
    path = write([MOON | {"timestamp": UNIX_S}, MOON | {"timestamp": UNIX_S + 1}])
    with pytest.raises(InputError, match="seconds since 1970, or 20 days in milliseconds"):
        read_trace(path)

    assert read_trace(path, time_unit="s").arrival_s.tolist() == [0.0, 1.0]
    assert read_trace(path, time_unit="ms").arrival_s.tolist() == [UNIX_S / 1e3, (UNIX_S + 1) / 1e3]


def test_seconds_read_as_milliseconds_are_asked_about(write):
    path = write([MOON | {"timestamp": i * 0.2} for i in range(50)])
    with pytest.raises(InputError, match=r"fractions of a millisecond, and 50 requests .* are these seconds\?"):
        read_trace(path)

    assert read_trace(path, time_unit="s").arrival_s[-1] == pytest.approx(9.8)
    assert read_trace(path, time_unit="ms").arrival_s[-1] == pytest.approx(9.8e-3)


@pytest.mark.parametrize(("step", "said"), [(1, True), (100, False), (20.5, True)])
def test_a_load_that_may_be_a_thousand_times_too_high_is_said(write, step, said):
    workload = read_trace(write([MOON | {"timestamp": i * step} for i in range(50)]))

    assert ("taken as milliseconds" in workload.source) == said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"arival": "created_at"}}, "columns: unknown 'arival'; did you mean 'arrival'?"),
        (
            {"columns": NAMES | {"arrival": "create_at"}},
            "no column 'create_at', which columns.arrival names; did you mean 'created_at'?",
        ),
        ({"columns": {"arrival": "created_at"}}, "workload.columns = { prompt_tokens = NAME }"),
        ({}, "its columns are told with workload.columns"),
        ({"time_unit": "hours"}, "unknown time_unit 'hours'; expected one of s, ms, us, ns, date"),
        ({"hash_block_tokens": 0}, "hash_block_tokens = 0: expected"),
        ({"columns": NAMES, "time_unit": "date"}, "line 2: created_at is '0', expected a date and time"),
    ],
)
def test_options_that_do_not_fit_are_named(write, options, message):
    with pytest.raises(InputError) as caught:
        read_trace(write(LOG + "0,10,1\n"), **options)

    assert message in str(caught.value)


@pytest.mark.parametrize("size", [64, 16, 100])
def test_hashes_of_other_blocks_ask_for_their_size_and_are_read_with_it(write, size):
    blocks = -(-640 // size)
    path = write([MOON | {"hash_ids": list(range(blocks))}, MOON | {"hash_ids": [*range(blocks - 1), 99]}])
    with pytest.raises(InputError, match=r"workload\.hash_block_tokens = "):
        read_trace(path)
    prefixes = read_trace(path, hash_block_tokens=size).prefixes

    assert prefixes.of(0)[1].tolist() == [*range(size, 640, size), 640]
    assert (prefixes.of(0)[0] == prefixes.of(1)[0]).tolist() == [True] * (blocks - 1) + [False]


def test_the_size_that_is_suggested_is_right_for_powers_of_two(write):
    for size in (16, 32, 64, 128, 256):
        with pytest.raises(InputError, match=rf"hash_block_tokens = {size} "):
            read_trace(write([MOON | {"input_length": 3000, "hash_ids": list(range(-(-3000 // size)))}]))


@pytest.mark.parametrize(("size", "said"), [(512, ""), (1024, "look like 1024"), (4096, "look like 4096")])
def test_hashes_of_larger_blocks_are_said(write, size, said):
    rows = [MOON | {"input_length": n, "hash_ids": list(range(-(-n // size)))} for n in (300, 5000, 9000)]
    source = read_trace(write(rows)).source

    assert said in source
    assert ("look like" in source) == bool(said)


def test_dates_are_dates_under_any_name(write):
    rows = [MOON | {"timestamp": at} for at in ("2024-05-10T00:00:02Z", "2024-05-10T00:00:00.5Z")]

    assert read_trace(write(rows)).arrival_s.tolist() == [0.0, 1.5]
    with pytest.raises(InputError, match="expected milliseconds"):
        read_trace(write(rows), time_unit="ms")


def test_hashes_have_64_bits_signed_or_not(write):
    largest = 2**64 - 1
    path = write(
        [MOON | {"hash_ids": [0, largest]}, MOON | {"hash_ids": [0, largest - 1]}, MOON | {"hash_ids": [0, largest]}]
    )
    ids = [read_trace(path).prefixes.of(i)[0].tolist() for i in range(3)]

    assert ids[0] == ids[2]
    assert ids[0][0] == ids[1][0]
    assert ids[0][1] != ids[1][1]
    assert len(read_trace(write([MOON | {"hash_ids": [-5, 7]}])).prefixes.ids) == 2


def test_bailian_is_told_by_its_ids_and_has_seconds_and_blocks_of_16(write):
    row = {"chat_id": 1, "parent_chat_id": -1, "timestamp": 0.5, "input_length": 40, "output_length": 2, "turn": 1}
    workload = read_trace(write([row | {"hash_ids": [5, 6, 7]}, row | {"timestamp": 61.114, "hash_ids": [5, 6, 8]}]))

    assert workload.source == "trace trace (bailian)"
    assert workload.arrival_s.tolist() == [0.5, 61.114]
    assert workload.prefixes.of(0)[1].tolist() == [16, 32, 40]
    assert workload.sessions is None


TURNS = [
    MOON | {"session_id": "a"},
    {"session_id": "a", "delay": 500, "input_length": 700, "output_length": 3},
    MOON | {"session_id": "b", "timestamp": 100},
    {"session_id": "a", "delay": 250, "input_length": 800, "output_length": 4},
    {"session_id": "b", "delay": 0, "input_length": 900, "output_length": 6},
]


@pytest.mark.parametrize("number", [str, {"a": 3, "b": 9}.get])
def test_turns_with_a_delay_come_after_the_end_of_the_one_before(write, number):
    workload = read_trace(write([row | {"session_id": number(row["session_id"])} for row in TURNS]), rate_scale=2.0)

    assert (workload.arrival_s * 2).tolist() == [0.0, 0.1, 0.1, 0.5, 0.75]
    assert workload.prompt_tokens.tolist() == [640, 640, 900, 700, 800]
    assert workload.sessions.after.tolist() == [NO_REQUEST, NO_REQUEST, 1, 0, 3]
    assert (workload.sessions.think_s * 2).tolist() == [0.0, 0.0, 0.0, 0.5, 0.25]
    assert workload.user.tolist() == [0, 1, 1, 0, 0]
    assert "3 turns so long after" in workload.source


def test_a_window_takes_whole_conversations_and_a_turn_without_output_is_skipped(write):
    rows = [TURNS[0], TURNS[1] | {"output_length": 0}, *TURNS[2:]]
    workload = read_trace(write(rows), duration_s=0.05)

    assert workload.prompt_tokens.tolist() == [640, 800]
    assert workload.sessions.after.tolist() == [NO_REQUEST, 0]


def test_turns_with_times_of_their_own_come_then(write):
    workload = read_trace(write([row | {"session_id": "a"} for row in (MOON, MOON | {"timestamp": 900})]))

    assert workload.sessions is None
    assert workload.arrival_s.tolist() == [0.0, 0.9]
    assert workload.user.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [MOON, {"session_id": "a", "delay": 5, "input_length": 7, "output_length": 3}],
            "request 1 is the first of its conv",
        ),
        ([*TURNS[:1], TURNS[1] | {"delay": -1}], "line 2: delay is -1, expected milliseconds, a number of at least 0"),
        ([*TURNS[:1], TURNS[1] | {"delay": None}], "line 2: no 'timestamp'"),
        ([*TURNS[:2], TURNS[2] | {"session_id": 1}], "line 3: session_id is a text in one row and a number in another"),
        ([*TURNS[:1], TURNS[1] | {"session_id": [1]}], "line 2: session_id is [1], expected a text or a whole number"),
    ],
)
def test_conversations_that_cannot_be_are_named(write, rows, message):
    with pytest.raises(InputError) as caught:
        read_trace(write(rows))

    assert message in str(caught.value)


FORMATS = {
    "burstgpt": """\
        Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
        5,ChatGPT,472,18,490,Conversation log
        45,GPT-4,10,0,10,API log""",
    "vidur": """\
        arrived_at,num_prefill_tokens,num_decode_tokens
        5,472,18
        45,10,0""",
    "splitwise": """\
        request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size
        0,2,0,5,1,472,18
        1,2,0,45,1,10,0""",
    "azure": """\
        TIMESTAMP,ContextTokens,GeneratedTokens
        2024-05-10 00:00:00.009930+00:00,472,18
        2024-05-10 00:00:40.009930+00:00,10,0""",
}


@pytest.mark.parametrize("name", FORMATS)
def test_public_traces_are_told_by_their_columns(write, name):
    workload = read_trace(write(textwrap.dedent(FORMATS[name])))

    assert workload.source == f"trace trace ({name}), 1 without output left out"
    assert (workload.prompt_tokens.tolist(), workload.output_tokens.tolist()) == ([472], [18])


def test_a_limit_or_an_end_leaves_the_rest_of_an_ordered_file_unread(tmp_path):
    path = tmp_path / "long.csv"
    rows = [f"{i},{i % 7 + 1},{i % 3}" for i in range(100_000)]
    path.write_text("arrival_s,prompt_tokens,output_tokens\n" + "\n".join(rows) + "\nno,row,at all\n")

    assert len(read_trace(path, limit=1000)) == 1000
    assert read_trace(path, limit=1000).arrival_s[-1] == 1499  # two in three have output
    assert read_trace(path, start_s=500, duration_s=3).prompt_tokens.tolist() == [500 % 7 + 1, 502 % 7 + 1]
    with pytest.raises(InputError, match="line 100002: arrival_s is 'no'"):
        read_trace(path)


def test_json_lines_are_read_as_far_as_needed_but_for_conversations(tmp_path):
    path = tmp_path / "long.jsonl"
    rows = [json.dumps(MOON | {"timestamp": 100 * i}) for i in range(5_000)]
    path.write_text("\n".join([*rows, "no row"]))

    assert read_trace(path, limit=10).arrival_s[-1] == 0.9
    path.write_text("\n".join([json.dumps(MOON | {"session_id": "a"}), *rows, "no row"]))
    with pytest.raises(InputError, match="line 5002: not complete JSON"):
        read_trace(path, limit=10)


def test_a_file_out_of_order_is_read_whole_for_a_limit(tmp_path):
    path = tmp_path / "long.csv"
    rows = [f"{100_000 - i},{i % 7 + 1},1" for i in range(100_000)]
    path.write_text("arrival_s,prompt_tokens,output_tokens\n" + "\n".join(rows) + "\n")

    assert read_trace(path, limit=2).arrival_s.tolist() == [1.0, 2.0]
