"""A Dask cluster of real processes, one of which is killed, gives the rows of a single process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmsim.errors import InputError
from llmsim.studies.plan import make_plan, read_plan, to_dict
from llmsim.studies.sweep import dask, in_this_process, read_sweep, run_sweep
from places import ROOT
from small_scenario import small

TINY = small(
    "tiny",
    100,
    """\
[sweep]
"workload.arrivals.rate_per_s" = [4, 8, 16, 32]
seeds = 10
""",
)
PLAN = """\
[plan]
targets = ["ttft_s.p99 <= 0.5"]
most_requests = 2000
model_error = false
"""


class Cluster:
    """A scheduler and two worker processes on this machine."""

    def __init__(self, folder: Path) -> None:
        said = folder / "scheduler.json"
        here = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        base = [sys.executable, "-m", "dask"]
        common = ["--no-dashboard", "--scheduler-file", str(said)]
        kinds = [["scheduler", "--host", "127.0.0.1", "--port", "0"]] + 2 * [
            ["worker", "--no-nanny", "--nthreads", "1"]
        ]
        local = ["--local-directory", str(folder)]
        self.processes = [
            subprocess.Popen(
                [*base, *kind, *common, *(local if kind[0] == "worker" else [])],
                env=here, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for kind in kinds
        ]  # fmt: skip
        until_s = time.monotonic() + 60
        while not said.exists() and time.monotonic() < until_s:
            time.sleep(0.05)
        self.address = str(json.loads(said.read_text())["address"])

    def kill_a_worker(self) -> None:
        self.processes[1].kill()

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait(20)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra dask)")
    (tmp_path / "dask").mkdir()
    running = Cluster(tmp_path / "dask")
    yield running
    running.close()


def test_a_worker_killed_midway_costs_no_row(cluster: Cluster, tmp_path: Path) -> None:
    import distributed

    (tmp_path / "tiny.toml").write_text(TINY)
    sweep = read_sweep(tmp_path / "tiny.toml")
    run_sweep(sweep, tmp_path / "one")
    with distributed.Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    killed_at: list[int] = []

    def progress(done: int, _: int) -> None:
        if done == 5:
            cluster.kill_a_worker()
            killed_at.append(done)

    swept = run_sweep(
        sweep, tmp_path / "dask-sweep", executors=dask(cluster.address), in_flight=1000, progress=progress
    )

    assert (swept.ran, killed_at) == (40, [5])
    tables = [(tmp_path / name / "sweep.parquet").read_bytes() for name in ("one", "dask-sweep")]
    assert tables[0] == tables[1]

    (tmp_path / "planned.toml").write_text(TINY.partition("[sweep]")[0] + PLAN)
    question = read_plan(str(tmp_path / "planned.toml"))
    answers = []
    for executors in (in_this_process, dask(cluster.address)):
        with executors() as executor:
            answers.append(to_dict(make_plan(question, executor)))
    assert answers[0] == answers[1]
    assert answers[0]["best"] == 0


def test_no_scheduler_at_that_address_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra dask)")
    monkeypatch.setattr("llmsim.studies.executors.DASK_ANSWERS_WITHIN_S", 0.2)
    (tmp_path / "tiny.toml").write_text(TINY)

    with pytest.raises(InputError, match=r"--dask tcp://127.0.0.1:9: no Dask scheduler answers there .*; 0 of 40 runs"):
        run_sweep(read_sweep(tmp_path / "tiny.toml"), tmp_path / "x", executors=dask("tcp://127.0.0.1:9"))
