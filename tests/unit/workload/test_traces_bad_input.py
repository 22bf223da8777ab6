"""Bad traces: one clear line that names file, line and field."""

from __future__ import annotations

import gzip
import re

import pytest

from llmsim.errors import InputError
from llmsim.workload.traces import read_trace

HEADER = "arrival_s,prompt_tokens,output_tokens\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
MOON = '{"timestamp": 0, "input_length": 5, "output_length": 6}\n'
ZIPPED = gzip.compress((HEADER + "1,2,3\n" * 1000).encode(), mtime=0)
WHOLE = "a whole number of at least 1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n  \n", "the file is empty"),
        (HEADER, "no requests after the header"),
        (HEADER + "\n\n", "no requests after the header"),
        (HEADER + "1,2,3\x1c\n", "line 2: output_tokens is '3\\x1c', expected a whole number"),
        (ZIPPED[:-20], "the gzip file is truncated"),
        (ZIPPED[:15] + b"\xff\xff" + ZIPPED[17:], "the gzip file is damaged"),
        (b"PAR1\x15\x04\x00\x00", "line 1: not text (byte 0x00)"),
        ((HEADER + "1,2,3\n").encode() + b"\xff\xfe\n", "line 3: not text (byte 0xff)"),
        ("time,in,out\n1,2,3\n", "line 1: not a known trace, starts with 'time,in,out'; expected TIMESTAMP,"),
        ("[1, 2]\n", "record 1: expected a JSON object, found '1'"),
        ("[]\n", "no requests in it"),
        ('[{"timestamp": 0}', "a JSON array that is not complete (Expecting ',' delimiter"),
        ("arrival_s;prompt_tokens;output_tokens\n0,5;1;2\n", "seconds, a number of at least 0; decimals have a point"),
        (
            MOON.replace("0", "1715299200000") + MOON,
            "timestamp is 0 in one row, and milliseconds since 1970 in the first; expected one clock for all rows",
        ),
        ("arrival_s,prompt_tokens,output\n1,2,3\n", "line 1: no column 'output_tokens', which format 'csv'"),
        (
            '{"timestamp": 0, "input_length": 3}\n',
            "line 1: no column 'output_length', which format 'mooncake'",
        ),
        (
            "arrival_s,prompt_tokens,output_tokens,arrival_s\n1,2,3,4\n",
            "line 1: column 'arrival_s' is there twice",
        ),
        (
            HEADER + "1,2,3\n4,5\n",
            "line 3: 2 fields, expected 3 as in the header: '4,5'",
        ),
        (HEADER + "1,2,3\r4,x,6\r", f"line 3: prompt_tokens is 'x', expected {WHOLE}"),
        (HEADER + "1,2,3\n" + "9" * 200_000 + ",2,x\n", "line 3: field larger than field limit"),
        ('"time\nin","out"\n1,2\n', "line 1: not a known trace"),
        ('{"timestamp": 0, "input\\nlength": 3}\n', "line 1: no column 'input_length'"),
        (HEADER + "1,2,3\n\n4,5,6,7\n", "line 4: 4 fields, expected 3"),
        (HEADER + "1,2,3\n2,,3\n", f"line 3: prompt_tokens is '', expected {WHOLE}"),
        (HEADER + "1,-2,3\n", f"line 2: prompt_tokens is '-2', expected {WHOLE}"),
        (HEADER + "1,0,3\n", f"line 2: prompt_tokens is '0', expected {WHOLE}"),
        (HEADER + "1,2.5,3\n", f"line 2: prompt_tokens is '2.5', expected {WHOLE}"),
        (HEADER + "1,1e99,3\n", f"line 2: prompt_tokens is '1e99', expected {WHOLE}"),
        (HEADER + "1,2,-1\n", "line 2: output_tokens is '-1', expected a whole number of at least 0"),
        (HEADER + "1,2,nan\n", "line 2: output_tokens is 'nan', expected a whole number of at least 0"),
        (HEADER + "1,2,3\n1,x,3\n", f"line 3: prompt_tokens is 'x', expected {WHOLE}"),
        (HEADER + "-1,2,3\n", "line 2: arrival_s is '-1', expected seconds, a number of at least 0"),
        (HEADER + "inf,2,3\n", "line 2: arrival_s is 'inf', expected seconds"),
        (HEADER + "1,2,0\n", "none of the 1 requests has any output tokens"),
        (
            AZURE + "2023-11-16 18:15,3,4\n2023-11-31 18:15:46,3,4\n",
            "line 4: TIMESTAMP is '2023-11-31 18:15:46'",
        ),
        (AZURE + ",3,4\n", "line 3: TIMESTAMP is '', expected a date and time such as 2023-11-16"),
        (AZURE + "2023-11-16 18:15:47,3", "line 3: 2 fields, expected 3"),
        (MOON + '{"timestamp": 0, "input_le', "line 2: not complete JSON"),
        (MOON + "\n" + '{"timestamp": 0, "input_length": 5}\n', "line 3: no 'output_length' in '{"),
        (MOON + MOON.strip() + MOON, "line 2: not complete JSON (Extra data"),
        (MOON + "[1]\n", "line 2: expected one JSON object per line, found '[1]'"),
        (MOON.replace("5", '"5"'), f"line 1: input_length is '5', expected {WHOLE}"),
        (MOON.replace("5", "null"), f"line 1: input_length is null, expected {WHOLE}"),
        (MOON.replace("5", "true"), f"line 1: input_length is true, expected {WHOLE}"),
        (MOON.replace("5", "5.5"), f"line 1: input_length is 5.5, expected {WHOLE}"),
        (MOON.replace("5", "NaN"), f"line 1: input_length is NaN, expected {WHOLE}"),
        (MOON.replace("0", "-3"), "line 1: timestamp is -3, expected milliseconds, a number of at least 0"),
    ],
)
def test_bad_content_is_named_in_one_line(tmp_path, content, message):
    path = tmp_path / "bad.trace"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_trace(path)

    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "mooncak"}, "unknown trace format 'mooncak'; did you mean 'mooncake'?"),
        ({"format": "jsonl"}, "line 1: this is CSV, but format 'jsonl' is JSON lines"),
        ({"format": "azure"}, "line 1: no column 'TIMESTAMP', which format 'azure' needs"),
        ({"rate_scale": 0.0}, "rate_scale = 0.0: expected a finite number above 0"),
        ({"rate_scale": float("nan")}, "rate_scale = nan: expected"),
        ({"start_s": -1.0}, "start_s = -1.0: expected a finite number of at least 0"),
        ({"duration_s": 0}, "duration_s = 0: expected"),
        ({"limit": 0}, "limit = 0: expected a whole number of at least 1"),
        ({"start_s": 9.0}, "no request in [9 s, inf s); its 1 requests arrive from 1 s to 1 s"),
        ({"duration_s": 0.5}, "no request in [0 s, 0.5 s)"),
    ],
)
def test_bad_options_are_named_in_one_line(tmp_path, options, message):
    path = tmp_path / "good.csv"
    path.write_text(HEADER + "1,2,3\n")

    with pytest.raises(InputError, match=re.escape(message)):
        read_trace(path, **options)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: no such trace file"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder, expected a trace file"):
        read_trace(tmp_path)


@pytest.mark.parametrize(
    ("hashes", "shown"),
    [
        ("[1, 2, 3]", r"\[1, 2, 3\]"),  # 600 tokens are two blocks
        ("[1, 2.5]", r"\[1, 2.5\]"),
        ("[1, null]", r"\[1, null\]"),
        ('"12"', "'12'"),
        ("7", "7"),
        (f"[1, {2**64}]", r"\[1, 18446744073709551616\]"),
        (f"[-1, {2**64 - 1}]", r"\[-1, 18446744073709551615\]"),
    ],
)
def test_hashes_that_do_not_fit_the_prompt(tmp_path, hashes, shown):
    good = '{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}\n'
    file = tmp_path / "trace.jsonl"
    file.write_text(good + good.replace("[1, 2]", hashes))

    with pytest.raises(InputError, match=rf"trace.jsonl, line 2: hash_ids is {shown}, expected a list of whole num"):
        read_trace(file)
