"""The one door for what comes in: each limit, with its message, and the time that it takes to say so."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmsim import reading
from llmsim.errors import InputError
from llmsim.interop.document import read_document
from llmsim.latency.fit import read_steps
from llmsim.latency.fitted import Fitted
from llmsim.latency.profile_files import read_json, read_toml
from llmsim.scenario.load import line_numbers, parse_change, read_source
from llmsim.workload.servegen_files import read_clients
from llmsim.workload.traces import read_trace

READERS: dict[str, Callable[[Path], object]] = {
    "scenario": read_source,
    "document": read_document,
    "trace": read_trace,
    "clients": read_clients,
    "JSON profile": read_json,
    "TOML profile": read_toml,
    "steps": read_steps,
    "fitted": lambda path: Fitted.from_distserve(path, "model"),
}
DEEP = 5000
LONG = "9" * 5000


def refusal(read: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(InputError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("reader", READERS)
def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, reader: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    assert refusal(READERS[reader], pipe) == f"{pipe}: is a pipe, expected a file"
    assert refusal(READERS[reader], Path("/dev/zero")) == "/dev/zero: is a device, expected a file"


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        *((reader, '{"a":' * DEEP + "1" + "}" * DEEP) for reader in ("document", "JSON profile", "fitted")),
        *((reader, "a = " + "[" * DEEP + "]" * DEEP) for reader in ("scenario", "TOML profile")),
        ("scenario", "a." * 100_000 + "b = 1"),
        ("scenario", "a = {" + "a." * 100_000 + "b = 1}"),
        ("scenario", "[" + "a." * 100_000 + "b]"),
        ("document", '{"a":' * 101 + "1" + "}" * 101),
    ],
)
def test_what_is_nested_too_deep_is_told(tmp_path: Path, reader: str, text: str) -> None:
    file = tmp_path / "deep"
    file.write_text(text, encoding="utf-8")

    assert "100 deep" in refusal(READERS[reader], file)


def test_nesting_within_the_limit_is_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text('{"a":' * 100 + "1" + "}" * 100, encoding="utf-8")
    read_document(file)
    assert reading.parse_toml("a = " + "[" * 99 + "]" * 99, "here")


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        *((reader, f'{{"a": {LONG}}}') for reader in ("document", "JSON profile", "fitted")),
        *((reader, f"a = {LONG}") for reader in ("scenario", "TOML profile")),
        *((reader, f"a = -{LONG[:400]}") for reader in ("scenario", "TOML profile")),
        ("trace", f'{{"timestamp": {LONG}, "input_length": 1, "output_length": 1}}'),
    ],
)
def test_numbers_with_too_many_digits_are_told(tmp_path: Path, reader: str, text: str) -> None:
    file = tmp_path / "long"
    file.write_text(text, encoding="utf-8")

    said = refusal(READERS[reader], file)
    assert "digits" in said
    assert str(file) in said


def test_whole_numbers_of_64_bits_are_read() -> None:
    assert reading.parse_json(json.dumps([2**64 - 1, -(2**63)]), "here") == [2**64 - 1, -(2**63)]


@pytest.mark.parametrize("change", [f"seed={LONG}", "seed=" + "[" * DEEP + "]" * DEEP, "a." * 500 + "b=1"])
def test_changes_of_the_command_line_have_the_same_limits(change: str) -> None:
    assert any(word in refusal(parse_change, change) for word in ("digits", "deep", "501 parts"))


def test_a_text_that_is_too_long_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(b"#" * (reading.MOST_SETTINGS_BYTES + 1))

    assert refusal(read_source, file) == f"{file}: more than 4 MiB of text, expected at most that"


@pytest.mark.parametrize("reader", ["document", "trace"])
def test_a_gzip_file_that_expands_without_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    monkeypatch.setattr(reading, "EXPANSION_COUNTS_FROM_BYTES", 1 << 16)
    file = tmp_path / "bomb.gz"
    file.write_bytes(gzip.compress(b" " * (1 << 22)))

    assert refusal(READERS[reader], file) == f"{file}: a gzip file that expands to more than 200 times its size"


def test_honest_gzip_files_are_read_whole(tmp_path: Path) -> None:
    file, text = tmp_path / "a.gz", json.dumps(list(range(200_000))).encode()
    file.write_bytes(gzip.compress(text))

    assert reading.read_bytes(file) == text
    with reading.opened(file) as opened:
        assert opened.read(10) + opened.read() == text


def test_a_line_without_an_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsim.workload.trace_blocks.MOST_LINE_BYTES", 1 << 20)
    file = tmp_path / "trace.csv"
    file.write_bytes(b"9" * (3 << 20))

    assert "a line of more than" in refusal(read_trace, file)


def test_too_many_requests_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsim.workload.trace_rows.MOST_REQUESTS", 2)
    file = tmp_path / "trace.csv"
    file.write_text("arrival_s,prompt_tokens,output_tokens\n" + "0,1,1\n" * 3, encoding="utf-8")

    assert "more than 2 requests, expected at most that; workload.limit takes the first" in refusal(read_trace, file)


def test_an_archive_that_is_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsim.workload.servegen_files.MOST_BYTES", 100)
    file = tmp_path / "clients.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        member = tarfile.TarInfo("chunk-0-trace.csv")
        member.size = 200
        archive.addfile(member, io.BytesIO(b"0" * 200))

    assert "MiB within, expected at most that" in refusal(read_clients, file)


@pytest.mark.parametrize(
    "line", [" " * 20_000 + "x", "a " * 20_000, "[" + " " * 20_000, ", " * 20_000, "a = {" + "{" * 20_000]
)
def test_lines_of_keys_are_found_in_time_that_grows_with_the_text(line: str) -> None:
    started_s = time.process_time()
    line_numbers(line)
    assert time.process_time() - started_s < 0.5  # the expressions of before took minutes


def test_a_long_number_of_a_trace_is_blamed_in_time_that_grows_with_it(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(f"arrival_s,prompt_tokens,output_tokens\n{'9' * 40_000}x,1,1\n", encoding="utf-8")

    started_s = time.process_time()
    assert "arrival_s is '999" in refusal(read_trace, file)
    assert time.process_time() - started_s < 1.0
