"""Where files may go, and that they are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.writing import replacing


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("mine")
    with pytest.raises(InputError, match=r"a.toml: is there already; give another name, or --force"), replacing(file):
        pytest.fail("begun")
    with replacing(file, force=True) as scratch:
        scratch.write_text("new")
        assert file.read_text() == "mine"
    assert file.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["a.toml"]


def test_what_is_drawn_anew_takes_the_place_of_its_kind_alone(tmp_path: Path) -> None:
    page, notes = tmp_path / "page.html", tmp_path / "notes.md"
    notes.write_text("mine")
    for _ in range(2):
        with replacing(page, b"<!DOCTYPE") as scratch:
            scratch.write_text("<!DOCTYPE html>")
    with pytest.raises(InputError, match=r"notes.md: holds something else"), replacing(notes, b"<!DOCTYPE"):
        pytest.fail("begun")
    assert notes.read_text() == "mine"


def test_a_pipe_or_a_device_is_no_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no regular file"), replacing(tmp_path / "pipe", force=True):
        pytest.fail("begun")


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("mine")

    def fail() -> None:
        with replacing(file, force=True) as scratch:
            scratch.write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a", "mine")]


@pytest.mark.parametrize(
    "words",
    [
        ("trace", "convert", "trace.csv", "mine.txt", "--to", "mooncake"),
        ("schema", "--out", "mine.txt"),
        ("run", "quickstart", "--json", "--save-as", "vllm_bench=mine.txt"),
        ("trace", "show", "trace.csv", "--picture", "mine.png"),
        ("compare", "quickstart", "--schedulers", "fcfs,static", "--markdown", "mine.txt"),
        ("init", "mine.toml"),
    ],
)
def test_no_command_writes_over_a_file_of_another_kind(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("trace.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,10,3\n1,20,4\n")
    for name in ("mine.txt", "mine.png", "mine.toml"):
        Path(name).write_text("mine")
    before = sorted(Path().iterdir())

    assert main(words) == 2
    assert capsys.readouterr().err.startswith("error: mine.")
    assert sorted(Path().iterdir()) == before
    assert all(file.read_text() == "mine" for file in before if file.stem == "mine")
