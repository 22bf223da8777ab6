"""A sweep survives whatever happens to it: compared with one that nothing happened to."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from llmsim.cli import main
from llmsim.errors import InputError, LlmsimError
from llmsim.experiment.own_files import OwnFiles
from llmsim.metrics.kpi import plain
from llmsim.studies.processes import process_pool, uninterrupted
from llmsim.studies.sweep import in_this_process, read_sweep, run_sweep
from llmsim.studies.sweep.sweep_folder import opened, read_kept
from llmsim.studies.sweep.sweep_table import to_arrow
from places import ROOT
from small_scenario import small

TINY = small(
    "tiny",
    60,
    """\
[sweep]
"workload.arrivals.rate_per_s" = [4, 8.5, 16]
"scheduler.name" = ["fcfs", "chunked_prefill"]
seeds = 3
""",
)
POINTS = 18
#: dies by its own hand: always, or until a file is there
DEADLY = """\
from __future__ import annotations
import os, signal
from dataclasses import dataclass
from pathlib import Path
from llmsim.schedulers.fcfs import Fcfs
from llmsim.scheduler import Decision, InstanceView, Scheduler

@dataclass(frozen=True)
class Deadly(Scheduler):
    unless: str = "/"

    def schedule(self, view: InstanceView) -> Decision:
        if not Path(self.unless).exists():
            if self.unless.endswith("once"):
                Path(self.unless).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Fcfs().schedule(view)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.toml").write_text(TINY)
    run_sweep(read_sweep(folder / "tiny.toml"), folder / "sweep")
    return folder / "sweep"


def command(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "llmsim", "sweep", *map(str, arguments)]
    return subprocess.Popen(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def kept(folder: Path) -> dict[str, tuple[int, int]]:
    """Name of each whole point file -> what would change if it were written again."""
    return {f.name: (f.stat().st_ino, f.stat().st_mtime_ns) for f in (folder / "points").glob("*.json")}


def await_points(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    until_s = time.monotonic() + 60
    while len(kept(folder)) < count and process.poll() is None and time.monotonic() < until_s:
        time.sleep(0.005)


@pytest.mark.parametrize(("jobs", "kills"), [("1", (2, 11)), ("2", (11,))])
def test_a_killed_sweep_goes_on_and_ends_with_the_same_bytes(
    file: Path, whole: Path, tmp_path: Path, jobs: str, kills: tuple[int, ...]
) -> None:
    folder, chance = tmp_path / "sweep", random.Random(int(jobs))
    before: dict[str, tuple[int, int]] = {}
    for count in kills:
        process = command(file, "--jobs", jobs, "--out", folder)
        await_points(folder, count, process)
        time.sleep(chance.uniform(0, 0.01))
        process.kill()
        finished(process)
        now = kept(folder)
        assert before.items() <= now.items()  # nothing was done twice
        before = now
    assert len(before) >= 11
    assert not (folder / "sweep.parquet").exists() or len(before) == POINTS

    code, said = finished(command(file, "--jobs", jobs, "--out", folder))

    assert code == 0, said
    assert f"{len(before)} of {POINTS} runs are in {folder} already" in said
    assert before.items() <= kept(folder).items()
    assert len(kept(folder)) == POINTS
    assert (folder / "sweep.parquet").read_bytes() == (whole / "sweep.parquet").read_bytes()
    assert not list(folder.rglob(".*.part"))


def test_workers_end_with_a_sweep_that_is_killed(file: Path, tmp_path: Path) -> None:
    if not Path("/proc/self/task").is_dir():
        pytest.skip("this system does not show the children of a process in /proc")
    process = command(file, "--jobs", "2", "--out", tmp_path / "sweep", "--set", "workload.requests=20000")
    workers: list[str] = []
    until_s = time.monotonic() + 60
    while len(workers) < 3 and time.monotonic() < until_s:  # two, and the tracker of multiprocessing
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        time.sleep(0.01)
    time.sleep(0.5)
    process.kill()
    finished(process)

    def alive(pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    while any(map(alive, workers)) and time.monotonic() < until_s:
        time.sleep(0.01)
    assert len(workers) == 3
    assert not any(map(alive, workers))


def test_ctrl_c_tells_what_was_kept_and_how_to_go_on(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    process = command(file, "--jobs", "2", "--out", folder, "--set", "workload.requests=8000")
    await_points(folder, 3, process)
    process.send_signal(signal.SIGINT)
    code, said = finished(process)

    done = len(kept(folder))
    assert code == 130
    *progress, last = said.splitlines()
    assert (
        last == f"error: interrupted; {done} of {POINTS} runs are kept in {folder}, the same command goes on from there"
    )
    assert all(line.startswith("runs: ") for line in progress)
    so_far = pd.read_parquet(folder / "sweep_so_far.parquet")
    assert len(so_far) == done


def test_ctrl_c_waits_for_the_end_of_what_must_not_be_interrupted() -> None:
    done: list[int] = []

    def interrupted() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            done.extend(step for step in range(1000))  # time enough for a handler to be called
        done.append(-1)

    for times in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert len(done) == 1000 * times
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_ignores_ctrl_c_goes_on_to() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_two_processes_give_the_bytes_of_one(file: Path, whole: Path, tmp_path: Path) -> None:
    swept = run_sweep(read_sweep(file), tmp_path / "sweep", executors=lambda: process_pool(2), in_flight=4)

    assert swept.ran == POINTS
    assert (tmp_path / "sweep/sweep.parquet").read_bytes() == (whole / "sweep.parquet").read_bytes()


def test_pandas_reads_axes_seed_and_the_scores_of_llmsim_run(
    file: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_parquet(whole / "sweep.parquet")

    assert list(table.columns[:3]) == ["workload.arrivals.rate_per_s", "scheduler.name", "seed"]
    assert len(table) == POINTS
    assert "wall_s" not in table
    row = table.iloc[10]
    assert (row["workload.arrivals.rate_per_s"], row["scheduler.name"], row["seed"]) == (8.5, "chunked_prefill", 1)
    assert main(["run", str(file), "--set", "workload.arrivals.rate_per_s=8.5", "--seed", "1", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert row["ttft_s.p90"] == score["ttft_s"]["p90"]
    assert (score["verdict"]["answer"], score["ttft_s"]["p99"]) == ("too short", None)
    assert row["verdict.answer"] == "too short"
    assert pd.isna(row["ttft_s.p99"])
    assert row["slo.attainment_by_bound.tbt_s"] == score["slo"]["attainment_by_bound"]["tbt_s"]
    assert row["requests.finished"] == 60


def test_only_changed_points_run_again_and_older_ones_are_told_not_mixed_in(file: Path, tmp_path: Path) -> None:
    folder, lines = tmp_path / "sweep", list[str]()
    run_sweep(read_sweep(file), folder)
    before = kept(folder)
    again = run_sweep(read_sweep(file), folder, said=lines.append)
    assert (again.ran, lines) == (0, [f"18 of 18 runs are in {folder} already, 0 are to run"])

    changed = read_sweep(file, axes=["workload.arrivals.rate_per_s=4,16,32"], seeds=3)
    swept = run_sweep(changed, folder, said=lines.append)

    assert (swept.ran, swept.others) == (6, 6)
    assert lines[-1].startswith("6 files of runs of other definitions or versions are left alone")
    assert before.items() <= kept(folder).items()
    table = pd.read_parquet(folder / "sweep.parquet")
    assert sorted(set(table["workload.arrivals.rate_per_s"])) == [4, 16, 32]


def test_damaged_point_files_are_never_read(file: Path, whole: Path, tmp_path: Path) -> None:
    folder, lines = tmp_path / "sweep", list[str]()
    sweep = read_sweep(file)
    run_sweep(sweep, folder)
    first, second, third = (folder / "points" / f"{sweep.points[i].key}.json" for i in range(3))
    first.write_bytes(first.read_bytes()[:100])
    second.write_bytes(b"")
    third.write_bytes((folder / "points" / f"{sweep.points[5].key}.json").read_bytes())  # another point's
    (folder / "points" / f".{sweep.points[4].key}.json.part").write_text('{"key": ')
    (folder / "sweep.parquet").unlink()

    swept = run_sweep(sweep, folder, said=lines.append)

    assert swept.ran == 3
    (line,) = (line for line in lines if "were damaged" in line)
    assert line.startswith("3 files of runs were damaged, and are made anew: ")
    assert all(file.name in line for file in (first, second, third))
    assert (folder / "sweep.parquet").read_bytes() == (whole / "sweep.parquet").read_bytes()


@pytest.mark.parametrize("limited", ["point", "table"])
def test_a_full_disk_is_one_line_and_loses_nothing(file: Path, tmp_path: Path, limited: str) -> None:
    """A limit on file sizes fails as a full disk does: at the first point, or at the table only."""
    folder, one = tmp_path / "sweep", "workload.arrivals.rate_per_s=4"
    run_sweep(read_sweep(file, axes=[one], seeds=1), folder)
    before = kept(folder)
    point_bytes = min(file.stat().st_size for file in (folder / "points").iterdir())
    assert (folder / "sweep.json").stat().st_size < point_bytes - 400
    limit_bytes = point_bytes - 400 if limited == "point" else (folder / "sweep.parquet").stat().st_size // 2

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    code, said = finished(command(file, "--axis", one, "--jobs", "1", "--out", folder, preexec_fn=limit))

    done = 2 if limited == "point" else 6
    there, error = said.splitlines()
    assert (code, there) == (2, f"2 of 6 runs are in {folder} already, 4 are to run")
    assert f": cannot be written: File too large; {done} of 6 runs are kept in {folder}" in error
    assert before.items() <= kept(folder).items()
    assert len(kept(folder)) == done
    assert not list(folder.rglob(".*.part"))


def test_places_where_no_sweep_can_go(file: Path, tmp_path: Path) -> None:
    for place, words in (
        (file, "a file of that name is in the way"),
        (tmp_path, "expected a new or empty folder"),
        (Path("/proc/nowhere"), "cannot be written"),
    ):
        with pytest.raises(InputError, match=words):
            run_sweep(read_sweep(file), place)
    with (
        opened(tmp_path / "busy"),  # and the next one finds a folder without a mark yet
        pytest.raises(InputError, match="another sweep is writing there"),
        opened(tmp_path / "busy"),
    ):
        pass


def test_a_worker_that_dies_by_accident_costs_nothing_but_time(file: Path, tmp_path: Path) -> None:
    policy = tmp_path / "deadly.py"
    policy.write_text(DEADLY)
    sweep = _deadly(file, policy, [str(tmp_path / "once")])
    swept = run_sweep(sweep, tmp_path / "sweep", executors=lambda: process_pool(2), in_flight=4)

    assert (tmp_path / "once").exists()
    assert (swept.ran, len(swept.rows)) == (3, 3)


def test_a_point_that_kills_its_workers_is_named_and_the_others_are_kept(file: Path, tmp_path: Path) -> None:
    policy = tmp_path / "deadly.py"
    policy.write_text(DEADLY)
    sweep = _deadly(file, policy, ["/", "/nowhere"])

    with pytest.raises(LlmsimError) as caught:
        run_sweep(sweep, tmp_path / "sweep", executors=lambda: process_pool(2), in_flight=4)

    text = str(caught.value)
    assert text.startswith(
        "3 runs failed: workload.arrivals.rate_per_s=4, scheduler.unless=/nowhere, seed=0: its worker"
    )
    assert "3 of 6 runs are kept" in text
    assert len(kept(tmp_path / "sweep")) == 3


def _deadly(file: Path, policy: Path, unless: list[str]) -> Any:
    text = TINY.replace('"scheduler.name" = ["fcfs", "chunked_prefill"]', f'"scheduler.unless" = {json.dumps(unless)}')
    file.write_text(text.replace("seeds = 3", "seeds = 1"))
    return read_sweep(file, files=OwnFiles(policy))


def test_a_point_that_fails_is_told_with_its_name_and_tried_again(file: Path, tmp_path: Path) -> None:
    policy = tmp_path / "flawed.py"
    policy.write_text(DEADLY.replace("os.kill(os.getpid(), signal.SIGKILL)", "return Decision({10**6: 1})"))
    sweep = _deadly(file, policy, ["/", "/nowhere"])
    for _ in range(2):
        with pytest.raises(LlmsimError, match=r"3 runs failed: .*unless=/nowhere, seed=0: Deadly.*; 3 of 6 runs"):
            run_sweep(sweep, tmp_path / "sweep", executors=in_this_process)


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept | {"score": None},
        lambda kept: (
            kept | {"score": kept["score"] | {"output_tokens_per_s": kept["score"]["output_tokens_per_s"] + 1}}
        ),
        lambda kept: kept | {"schema": 0},
        lambda kept: {name: value for name, value in kept.items() if name != "sha256"},
    ],
)
def test_a_point_that_was_changed_is_made_anew(
    file: Path, whole: Path, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(whole, folder)
    point = next((folder / "points").iterdir())
    point.write_text(json.dumps(change(json.loads(point.read_text()))))

    swept = run_sweep(read_sweep(file), folder)

    assert (swept.ran, len(swept.rows)) == (1, POINTS)
    assert (folder / "sweep.parquet").read_bytes() == (whole / "sweep.parquet").read_bytes()


def test_a_table_that_was_changed_is_not_shown(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(whole, folder)
    table = folder / "sweep.parquet"
    table.write_bytes(table.read_bytes() + b" ")

    with pytest.raises(InputError, match=r"sweep\.parquet: is not as llmsim wrote it"):
        read_kept(folder)


def test_columns_have_the_types_of_their_kpis_whatever_values_there_are() -> None:
    rows = [{"ttft_s.mean": 0, "requests.finished": 1, "verdict.evidence.growth_per_s": None, "axis": 1}]
    at_once = to_arrow([*rows, {"ttft_s.mean": 0, "verdict.evidence.growth_per_s": 0}])
    assert [str(kind) for kind in at_once.schema.types] == ["double", "int64", "double", "int64"]
    assert plain({"growth_per_s": np.float64(0.5), "n": (np.int64(1),)}) == {"growth_per_s": 0.5, "n": [1]}
    assert type(plain(np.float64(0.5))) is float
