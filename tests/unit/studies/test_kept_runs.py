"""Studies that were stopped go on from the runs that they had, to the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from llmsim.errors import InputError, Interrupted
from llmsim.record import DrawnPaces, Paces, Timelines
from llmsim.step_ends import StepEnds
from llmsim.studies.compare import compare, read_sides, side_runs, write
from llmsim.studies.compare.timeline_arrays import from_arrays, to_arrays
from llmsim.studies.kept_runs import Damaged, KeptRuns, going_on

CHANGES = [
    "workload.requests=60",
    "workload.lengths={source='fixed', prompt_tokens=50, output_tokens=8}",
    "cluster.latency=roofline",
    "workload.arrivals.rate_per_s=40",
    "patience={first_token={mean_s=0.2}}",
]
SPECULATING = [*CHANGES, "speculation={method='ngram', num_speculative_tokens=3, acceptance_length=1.8}"]
RANDOMLY = [*SPECULATING, "speculation.acceptance_kind=random"]
OTHERWISE_S = "wall_s"  #: differs from run to run


@contextmanager
def stopped_after(runs: int) -> Iterator[None]:
    """Ctrl-C in the midst of run number `runs`."""
    made, run_task = 0, side_runs.run_task

    def counting(*arguments: Any) -> side_runs.Run:
        nonlocal made
        made += 1
        if made > runs:
            raise KeyboardInterrupt
        return run_task(*arguments)

    with mock.patch.object(side_runs, "run_task", counting):
        yield


def compared(folder: Path, changes: list[str]) -> dict[str, bytes]:
    """Compare two schedulers with two seeds; return the files, by name."""
    sides = read_sides(["quickstart"], ["chunked_prefill", "static"], changes)
    with going_on(folder / "out") as kept:
        comparison = compare(sides, seeds=2, kept=kept)
    folder.mkdir(exist_ok=True)
    write(comparison, folder)
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and file.name != "seal.json"}


@pytest.mark.parametrize("changes", [CHANGES, SPECULATING, RANDOMLY], ids=["patience", "even", "random"])
def test_a_comparison_goes_on_to_the_same_bytes(changes: list[str], tmp_path: Path) -> None:
    whole = compared(tmp_path / "whole", changes)
    place = tmp_path / "stopped"
    with stopped_after(0), pytest.raises(KeyboardInterrupt):
        compared(place, changes)
    assert not place.exists()
    said = f"interrupted; 3 runs are kept in {place / '.out.runs'}, the same command goes on"
    with stopped_after(3), pytest.raises(Interrupted, match=said):
        compared(place, changes)
    with stopped_after(1):  # the others are not made again
        assert compared(place, changes) == whole
    assert not (place / ".out.runs").exists()


def test_a_damaged_run_is_made_anew(tmp_path: Path) -> None:
    whole = compared(tmp_path / "whole", CHANGES)
    for pattern in ("*.json", "*.npz"):
        with stopped_after(2), pytest.raises(Interrupted):
            compared(tmp_path / "out", CHANGES)
        file = sorted((tmp_path / "out" / ".out.runs").glob(pattern))[0]
        data = file.read_bytes()
        file.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
        with stopped_after(2), pytest.raises(Interrupted, match="3 runs are kept"):
            compared(tmp_path / "out", CHANGES)
        assert compared(tmp_path / "out", CHANGES) == whole


COUNTED, DRAWN = Paces(np.array([150, 200]), np.array([0, 50])), DrawnPaces(np.array([0, 2, 3, 5]), np.array([0, 3]))
ENDS = StepEnds.of(np.zeros(1), np.ones(1), np.zeros(1), np.zeros(1, np.int64), np.array([3])) + 0.5


@pytest.mark.parametrize(("paces", "ends_s"), [(None, np.arange(3.0)), (COUNTED, ENDS), (DRAWN, np.arange(3.0))])
def test_timelines_are_read_back_as_they_were(paces: Paces | DrawnPaces | None, ends_s: Any, tmp_path: Path) -> None:
    numbers = (np.arange(2.0), np.arange(2.0) + 1, np.zeros(2, np.int8), np.ones(2, np.int64), np.ones(2, np.int64) * 2)
    segments = (np.arange(2), np.array([np.nan, 1.5]), np.zeros(2, np.int64), np.array([2, 1]), ends_s)
    times, kept = Timelines(*numbers, *segments, paces=paces, together=True), KeptRuns(tmp_path)
    kept.keep("key", {"score": 1}, to_arrays(times))
    found = kept.find("key")
    assert found is not None
    again = from_arrays(kept.arrays("key", found))

    assert again.together is True
    assert (type(again.paces), type(again.times_s)) == (type(paces), type(ends_s))
    for one, two in zip(to_arrays(times).items(), to_arrays(again).items(), strict=True):
        assert one[0] == two[0]
        assert one[1].dtype == two[1].dtype
        assert np.array_equal(one[1], two[1], equal_nan=one[1].dtype == np.float64)


def test_what_is_not_there_is_not_damaged(tmp_path: Path) -> None:
    kept = KeptRuns(tmp_path)
    assert kept.find("key") is None
    kept.keep("key", {"score": 1})
    assert len(kept) == 1
    with pytest.raises(Damaged):
        kept.arrays("key", {"arrays_sha256": "0"})


def test_one_process_at_a_time_makes_a_study(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "out"
    with (
        going_on(place),
        pytest.raises(InputError, match="another process is making it"),
        going_on(place),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    with going_on(None) as kept:
        assert kept is None
