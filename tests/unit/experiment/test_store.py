from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.experiment import Result, read_record, read_scenario, staged, write
from llmsim.experiment.seal import check_own, own_folder, read_seal, seal
from llmsim.metrics.score import Score
from llmsim.metrics.sections.duration import Duration
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.record import Record
from llmsim.request import Outcome
from llmsim.scenario import ClusterTable, Scenario


def small_result() -> Result:
    """Two instances; request 0 got 3 tokens on instance 1, request 1 was rejected."""
    record = Record(
        requests={
            "arrival_s": np.array([0.5, 0.75]),
            "prompt_tokens": np.array([10, 99]),
            "output_tokens": np.array([3, 1]),
            "first_scheduled_s": np.array([0.5, np.nan]),
            "first_token_s": np.array([1.0, np.nan]),
            "end_s": np.array([2.0, 0.75]),
            "outcome": np.array([Outcome.FINISHED, Outcome.REJECTED], dtype=np.int8),
            "reason": np.array([0, 1]),
            "instance": np.array([1, 0]),
            "left_s": np.array([np.nan, np.nan]),
            "sent_s": np.array([0.5, 0.75]),
        },
        segments={
            "request": np.array([0]),
            "instance": np.array([1]),
            "head_s": np.array([1.0]),
            "first_step": np.array([0]),
            "steps": np.array([2]),
        },
        steps={"instance": np.array([1]), "start_s": np.array([1.0]), "end_s": np.array([2.0])},
        step_ends_s=(np.empty(0), np.array([1.5, 2.0])),
        reasons=("", "too long"),
        end_s=2.0,
    )
    score = Score.of({RunVerdict: RunVerdict("steady", "", {}), Duration: Duration(2.0, 0.1)})
    return Result(Scenario(cluster=ClusterTable(instances=2)), record, (100,), score)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    result = small_result()
    write(result, tmp_path)
    record = read_record(tmp_path)

    for name in ("requests", "segments", "steps"):
        written, read = getattr(result.record, name), getattr(record, name)
        assert read.keys() == written.keys()
        for column in written:
            np.testing.assert_array_equal(read[column], written[column], err_msg=f"{name}.{column}")
    assert record.reasons == result.record.reasons
    assert record.end_s == result.record.end_s
    np.testing.assert_array_equal(record.timelines().token_times_s(0), [1.0, 1.5, 2.0])


def resealed(folder: Path) -> None:
    seal(folder, "as a newer llmsim might")


def test_equal_results_are_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(small_result(), tmp_path / name)

    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert files == [
        "requests.parquet",
        "scenario.json",
        "score.json",
        "seal.json",
        "segments.parquet",
        "step_ends.parquet",
        "steps.parquet",
    ]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    with staged(tmp_path / "deep" / "out") as scratch:
        (scratch / "scenario.json").write_text("{}")
        assert not (tmp_path / "deep" / "out").exists()

    assert [file.name for file in (tmp_path / "deep").rglob("*")] == ["out", "scenario.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_when_the_run_breaks_off(tmp_path: Path, error: type[BaseException]) -> None:
    def break_off() -> None:
        with staged(tmp_path / "out") as scratch:
            (scratch / "scenario.json").write_text("{}")
            raise error

    with pytest.raises(error):
        break_off()

    assert list(tmp_path.iterdir()) == []


def test_an_earlier_result_is_replaced_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "scenario.json").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    with staged(tmp_path) as scratch:
        (scratch / "scenario.json").write_text("new")

    assert (tmp_path / "scenario.json").read_text() == "new"
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_place_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    for place in (tmp_path, tmp_path / "thesis.tex", tmp_path / "thesis.tex" / "out"):
        with pytest.raises(InputError, match="expected a"), staged(place):
            pytest.fail("must not begin")


def test_a_folder_without_a_result_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder that llmsim run has written"):
        read_record(tmp_path)
    write(small_result(), tmp_path)
    (tmp_path / "steps.parquet").write_bytes(b"PAR1 but cut")
    with pytest.raises(InputError, match=r"steps\.parquet: is not as llmsim wrote it"):
        read_record(tmp_path)
    resealed(tmp_path)
    with pytest.raises(InputError, match=r"steps\.parquet: not a readable Parquet file"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("score.json", "{", r"score\.json: expected the score of a run, in JSON, with simulated_s"),
        ("score.json", "[]", r"score\.json: expected the score of a run"),
        ("score.json", None, r"score\.json: is missing"),
        ("requests.parquet", None, r"requests\.parquet: is missing"),
        ("requests.parquet", "steps.parquet", r"requests\.parquet: has no column arrival_s, prompt_tokens"),
    ],
)
def test_a_damaged_result_is_one_line(tmp_path: Path, file: str, content: str | None, message: str) -> None:
    write(small_result(), tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    elif content.endswith(".parquet"):
        (tmp_path / file).write_bytes((tmp_path / content).read_bytes())
    else:
        (tmp_path / file).write_text(content)
    if content is not None:
        with pytest.raises(InputError, match=re.escape(file) + ": is not as llmsim wrote it"):
            read_record(tmp_path)
        resealed(tmp_path)

    with pytest.raises(InputError, match=message):
        read_record(tmp_path)


def test_a_scenario_that_is_not_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "scenario.json").write_bytes(b"\xff")
    resealed(tmp_path)
    with pytest.raises(InputError, match=r"scenario\.json: not JSON \(expected value"):
        read_scenario(tmp_path)


def test_each_changed_byte_is_found(tmp_path: Path) -> None:
    write(small_result(), tmp_path)
    for file in sorted(tmp_path.iterdir()):
        whole = file.read_bytes()
        at = len(whole) // 2
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(InputError, match=r"run it again$"):
            read_record(tmp_path)
        file.write_bytes(whole)
    read_record(tmp_path)


def test_a_result_that_was_left_between_two_is_not_believed(tmp_path: Path) -> None:
    """A kill while files are replaced leaves some of each result, and no seal."""
    write(small_result(), tmp_path)
    (tmp_path / "seal.json").unlink()

    with pytest.raises(InputError, match=r"seal\.json: is missing; expected a whole result"):
        read_record(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99, "sha256": {}, "question": ""}', "{" * 500])
def test_a_seal_of_another_make_is_told(tmp_path: Path, text: str) -> None:
    write(small_result(), tmp_path)
    (tmp_path / "seal.json").write_text(text)

    with pytest.raises(InputError, match=r"seal\.json: "):
        read_record(tmp_path)


def test_another_questions_folder_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert own_folder(folder, "abcdefgh") == folder
    folder.mkdir()
    assert own_folder(folder, "abcdefgh") == folder
    write(small_result(), folder)
    own = read_seal(folder)["question"]

    assert own_folder(folder, own) == folder
    check_own(folder, own, "scenario.json")
    assert own_folder(folder, "abcdefgh") == tmp_path / "out-abcdef"
    with pytest.raises(InputError, match="holds another result"):
        check_own(folder, "abcdefgh", "scenario.json")


def test_folders_made_for_nothing_go_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "a" / "b" / "out"):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_the_next_run_clears_up_for_one_that_was_killed_and_for_no_other(tmp_path: Path) -> None:
    def beside() -> set[str]:
        return {path.name for path in tmp_path.iterdir()}

    (tmp_path / ".out-mine").mkdir()  # a person's
    (tmp_path / ".out-abcdefgh.part").mkdir()
    (tmp_path / ".out-abcdefgh.part" / "steps.parquet").touch()
    with staged(tmp_path / "out") as scratch:
        assert beside() == {".out-mine", scratch.name}
        with staged(tmp_path / "out") as other:
            (other / "scenario.json").touch()
            assert beside() == {".out-mine", scratch.name, other.name}, "that process lives"
        (scratch / "scenario.json").touch()
    assert beside() == {".out-mine", "out"}
