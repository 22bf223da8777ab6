"""Keep a result in a folder: Parquet for tables, JSON for the scenario and the score. Whole or not at all."""

from __future__ import annotations

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from llmsim.errors import InputError
from llmsim.experiment.holding import CAN_HOLD, held, in_turn
from llmsim.experiment.pools import pool_of_instances
from llmsim.experiment.seal import SEAL_FILE, SEALED, question, seal, unsealed
from llmsim.metrics import ranges
from llmsim.metrics.score import Score
from llmsim.reading import parse_json
from llmsim.record import (
    INSTANCE_STATE_COLUMNS,
    SEGMENT_COLUMNS,
    TRANSFER_COLUMNS,
    InstanceState,
    Record,
    Timelines,
)
from llmsim.request import Outcome
from llmsim.scenario import ImmediateDelivery, Scenario
from llmsim.scenario.messages import input_error
from llmsim.scenario.named import STORED

if TYPE_CHECKING:
    import pandas as pd

    from llmsim.experiment.run_scenario import Result

#: of a table, by name, (rows,) each
Columns = Mapping[str, NDArray[Any]]
OUTCOMES = tuple(outcome.name.lower() for outcome in Outcome)
#: the file whose presence makes a folder a result
SCENARIO_FILE = "scenario.json"
DELIVERED_TOKENS = "delivered_tokens.parquet"
TRANSFERS = "transfers.parquet"
STEP_YIELDS = "step_yields.parquet"
INSTANCES = "instances.parquet"
STATES = tuple(state.name.lower() for state in InstanceState)
#: files that only some runs have
OPTIONAL_FILES = (DELIVERED_TOKENS, TRANSFERS, STEP_YIELDS, INSTANCES, "instances.png")
#: table -> columns without which a result cannot be scored again
NEEDED_COLUMNS = {
    "requests": (
        *("arrival_s", "prompt_tokens", "output_tokens", "first_scheduled_s", "end_s"),
        *("left_s", "outcome", "reason", "instance", "sent_s"),
    ),
    "steps": (),
    "segments": tuple(SEGMENT_COLUMNS),
    "step_ends": ("instance", "end_s"),
}
GROUP_ROWS = 1 << 20  #: rows of a Parquet file that are written together, as PyArrow has it
#: ends the name of a folder that is being filled
SCRATCH = ".part"
NO_WORD = -1  #: in place of the number of a word: there is none
#: columns of requests.parquet that follow from the record and the delivery policy
DELIVERED_COLUMNS = ("delivered_tokens", "first_token_delivered_s", "last_token_delivered_s")


def write(result: Result, folder: Path, *, force: bool = False) -> None:
    """Write a result's files into an existing folder; two equal runs differ in wall_s of score.json only.

    score.json has P99s only of a steady run, unless forced.
    """
    record = result.record
    requests, words = _requests(result)
    _write_table(folder / "requests.parquet", requests, **words)
    _write_table(folder / "steps.parquet", record.steps)
    _write_table(folder / "segments.parquet", record.segments)
    _write_groups(folder / "step_ends.parquet", _step_ends(record))
    if result.scenario.kv_transfer is not None:
        _write_table(folder / TRANSFERS, record.transfers)
    if record.step_yields is not None:
        _write_table(folder / STEP_YIELDS, {"tokens": record.step_yields})
    if result.scenario.autoscaling is not None:
        _write_table(folder / INSTANCES, record.instance_states, state=STATES)
    if not isinstance(result.scenario.delivery, ImmediateDelivery):
        _write_table(folder / DELIVERED_TOKENS, _delivered_tokens(result.delivered))
    write_json(folder / SCENARIO_FILE, result.scenario.model_dump(mode="json"))
    write_json(folder / "score.json", result.reported(force=force).to_dict())
    seal(folder, question_of(result.scenario), data_files(folder))


def question_of(scenario: Scenario) -> str:
    """What a run of a scenario answers, as a checksum."""
    return question(scenario=scenario.model_dump(mode="json"))


def data_files(folder: Path) -> list[str]:
    """Names of the tables and JSON files of a run that are there."""
    names = (SCENARIO_FILE, "score.json", *(f"{name}.parquet" for name in NEEDED_COLUMNS), *OPTIONAL_FILES)
    return [name for name in names if name.endswith(SEALED) and (folder / name).is_file()]


def requests_frame(result: Result) -> pd.DataFrame:
    """Return the table of requests.parquet: one row for each attempt of a request."""
    requests, words = _requests(result)
    frame: pd.DataFrame = _arrow(requests, **words).to_pandas()
    return frame


def steps_frame(result: Result) -> pd.DataFrame:
    """Return the table of steps.parquet: one row for each step, or stretch of steps, of an instance."""
    frame: pd.DataFrame = _arrow(result.record.steps).to_pandas()
    return frame


def _requests(result: Result) -> tuple[Columns, dict[str, tuple[str, ...]]]:
    """Columns of the table of requests, and the words that numbers stand for in some of them."""
    record = result.record
    requests = {"id": np.arange(len(record.requests["arrival_s"])), **record.requests, **_deliveries(result)}
    words = {"outcome": OUTCOMES, "reason": record.reasons}
    if result.scenario.workload.classes:
        words["class"] = _classes(result.scenario)
    if result.scenario.pool:
        numbers = record.requests["instance"]
        requests["pool"] = np.where(numbers < 0, NO_WORD, pool_of_instances(result.scenario)[numbers])
        words["pool"] = tuple(pool.name for pool in result.scenario.pool)
    return requests, words


def read_record(folder: Path) -> Record:
    """Read a result's tables back, so that it can be scored again; InputError if the folder has none."""
    _check_result(folder)
    tables = {name: _read_table(folder / f"{name}.parquet", columns) for name, columns in NEEDED_COLUMNS.items()}
    requests, ends = tables["requests"], tables["step_ends"]
    reasons, requests["reason"] = np.unique(requests["reason"], return_inverse=True)
    requests["outcome"] = np.array([OUTCOMES.index(name) for name in requests["outcome"]], dtype=np.int8)
    for name in ("id", "pool", *DELIVERED_COLUMNS):
        requests.pop(name, None)
    scenario = read_scenario(folder)
    if "class" in requests:
        names = _classes(scenario)
        requests["class"] = np.array([names.index(name) for name in requests["class"]], dtype=np.int64)
    record = Record(
        requests=requests,
        segments=tables["segments"],
        steps=tables["steps"],
        step_ends_s=tuple(ends["end_s"][ends["instance"] == number] for number in range(scenario.most_instances)),
        reasons=tuple(reasons),
        end_s=float(read_score(folder)["simulated_s"]),
    )
    if (folder / TRANSFERS).is_file():
        record = replace(record, transfers=_read_table(folder / TRANSFERS, tuple(TRANSFER_COLUMNS)))
    if (folder / STEP_YIELDS).is_file():
        record = replace(record, step_yields=_read_table(folder / STEP_YIELDS, ("tokens",))["tokens"])
    if (folder / INSTANCES).is_file():
        states = _read_table(folder / INSTANCES, tuple(INSTANCE_STATE_COLUMNS))
        states["state"] = np.array([STATES.index(name) for name in states["state"]], dtype=np.int8)
        record = replace(record, instance_states=states)
    return record


def read_scenario(folder: Path) -> Scenario:
    """Read back the scenario of a result; InputError if the folder has none that this version understands."""
    _check_result(folder)
    file = folder / SCENARIO_FILE
    try:
        return Scenario.model_validate_json(unsealed(file), context=STORED)
    except ValidationError as error:
        raise input_error(error, Scenario, lambda _: f"{file}: ") from None


def _classes(scenario: Scenario) -> tuple[str, ...]:
    return tuple(each.name for each in scenario.workload.classes)


def read_score(folder: Path) -> Score:
    """Read back the score of a result; InputError if the folder has none."""
    _check_result(folder)
    file = folder / "score.json"
    try:
        score = Score.from_dict(parse_json(unsealed(file).decode(), str(file)))
        float(score["simulated_s"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{file}: expected the score of a run, in JSON, with simulated_s") from None
    return score


def _check_result(folder: Path) -> None:
    if not (folder / SCENARIO_FILE).is_file():
        raise InputError(f"{folder}: expected a folder that llmsim run has written, with {SCENARIO_FILE} in it")


def _deliveries(result: Result) -> Columns:
    """What reached the user of each request, as columns beside what left the GPU."""
    delivered = result.delivered
    rows = ranges.layout(delivered)
    columns = (rows.n_tokens, ranges.first_token_s(delivered), ranges.last_token_s(delivered))
    return dict(zip(DELIVERED_COLUMNS, columns, strict=True))


def _delivered_tokens(delivered: Timelines) -> Columns:
    """One row per token, for readers without llmsim: of paced runs, whose times are in no other table."""
    times_s = delivered.tokens_s(slice(None))
    return {"request": np.repeat(delivered.request, delivered.count), "delivered_s": times_s}


def write_json(file: Path, values: dict[str, Any]) -> None:
    """Write readable JSON; a NaN is a mistake, not a value."""
    file.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def check_folder(folder: Path, mark: str = SCENARIO_FILE) -> None:
    """Refuse a place where a result must not go: a file, or a folder that holds something else than `mark`."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise InputError(f"{folder}: holds files, but no {mark} of this command; expected a new or empty folder")
    if (file := in_the_way(folder)) is not None:
        raise InputError(f"{file}: expected a folder, but a file of that name is in the way")


def in_the_way(folder: Path) -> Path | None:
    """Return the file where a folder, or one that it is in, would have to be."""
    return next((place for place in (folder, *folder.parents) if place.exists() and not place.is_dir()), None)


@contextmanager
def staged(folder: Path, mark: str = SCENARIO_FILE) -> Iterator[Path]:
    """Give a scratch folder whose files become `folder`'s when the block ends well, and vanish otherwise.

    A new folder appears in one move. In the folder of an earlier result each file is replaced in one move, between the
    removal of the old seal and the arrival of the new one; files that llmsim did not write stay. Folders that had to be
    made for it go again if nothing comes to lie there, and scratch folders of processes that were killed go first.
    """
    check_folder(folder, mark)
    made = [each for each in folder.parents if not each.exists()]
    with ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            scratch = stack.enter_context(_scratch(folder))
        except OSError as error:
            raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
        try:
            yield scratch
            with in_turn(folder.parent):
                _move(scratch, folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            for each in made:
                with suppress(OSError):  # something lies there
                    each.rmdir()


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Make a scratch folder beside a folder, and hold it; remove those that no process holds any more."""
    with ExitStack() as stack:
        with in_turn(folder.parent):
            for left in folder.parent.glob(f".{glob.escape(folder.name)}-*{SCRATCH}"):
                with suppress(OSError), held(left) as abandoned:
                    if abandoned and CAN_HOLD:
                        shutil.rmtree(left)
            scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=SCRATCH, dir=folder.parent))
            stack.enter_context(held(scratch))
        yield scratch


def _move(scratch: Path, folder: Path) -> None:
    """Let the files of a scratch folder be those of a result."""
    if not folder.is_dir():
        scratch.chmod(0o755)  # a scratch folder is private, a result is not
        os.replace(scratch, folder)
        return
    for name in (SEAL_FILE, *OPTIONAL_FILES):
        (folder / name).unlink(missing_ok=True)
    for file in sorted(scratch.iterdir(), key=lambda file: (file.name == SEAL_FILE, file.name)):
        os.replace(file, folder / file.name)


def _step_ends(record: Record) -> Iterator[Columns]:
    """One row per decode step, a group of rows after another; at least one, which may be empty."""
    counts = np.array([len(ends) for ends in record.step_ends_s], dtype=np.int64)
    begin = np.cumsum(counts) - counts
    for lo in range(0, max(int(counts.sum()), 1), GROUP_ROWS):
        first, last = (np.clip(at - begin, 0, counts) for at in (lo, lo + GROUP_ROWS))
        ends_s = [ends[a:b] for ends, a, b in zip(record.step_ends_s, first, last, strict=True)]
        yield {
            "instance": np.repeat(np.arange(len(counts)), last - first),
            "end_s": np.concatenate([np.empty(0), *ends_s]),
        }


def _write_groups(file: Path, groups: Iterator[Columns]) -> None:
    """Write a table of which only a group of rows is in memory at a time; the bytes are those of `_write_table`."""
    import pyarrow.parquet as pq

    first = _arrow(next(groups))
    with pq.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for columns in groups:
            writer.write_table(_arrow(columns))


def _write_table(file: Path, columns: Columns, **words: tuple[str, ...]) -> None:
    import pyarrow.parquet as pq

    pq.write_table(_arrow(columns, **words), file)


def _arrow(columns: Columns, **words: tuple[str, ...]) -> Any:
    """Make an Arrow table; columns named in `words` hold numbers that stand for these words, or for none."""
    import pyarrow as pa

    arrays = {
        name: pa.DictionaryArray.from_arrays(
            pa.array(column, pa.int32(), mask=np.asarray(column) == NO_WORD), pa.array(words[name])
        )
        if name in words
        else pa.array(column)
        for name, column in columns.items()
    }
    return pa.table(arrays)


def _read_table(file: Path, columns: Sequence[str]) -> dict[str, NDArray[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(unsealed(file)))
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
    lacking = [name for name in columns if name not in table.column_names]
    if lacking:
        raise InputError(f"{file}: has no column {', '.join(lacking)}; expected a result of this version of llmsim")
    return {name: table[name].to_numpy() for name in table.column_names}
