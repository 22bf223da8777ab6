"""DistServe's own engine, prefill on two A100s and decode on a third, as its authors measured it (OSDI 2024).

OPT-13B, runs ``distserve-c21d11-N-r``: prefill with TP 2, decode with TP 1. Nothing is fitted. From their artifact:
step times (profiler-a100-80g.distserve.json), KV capacities (max_num_tokens.csv), the limits of the server command
(evaluation/2-benchmark-serving/2-start-api-server.py: whole prompts first come first served, at most 128 of them and
8192 tokens in a step; 1024 requests decode; blocks of 16), and what their simulated worker adds to GPU times
(distserve/simulator/simulated_worker.py): 5 ms for each call through Ray, one call a step and one a migration, and
600 GB/s and 0.1 ms for the copy over NVLink.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from llmsim.cluster import InstanceSpec
from llmsim.engine.exchange import Disaggregation, Link
from llmsim.latency.fitted import Fitted
from llmsim.latency.host import Host
from llmsim.record import Record
from llmsim.request import Role
from llmsim.routers.round_robin import RoundRobin
from llmsim.schedulers.fcfs import Fcfs
from llmsim.studies.validation.case_report import Check, Point, Report
from llmsim.studies.validation.distserve_points import knee, points_of, rows_of
from llmsim.studies.validation.distserve_runs import Run, kv_capacity_tokens, read_runs
from llmsim.studies.validation.replay import seen_by_clients, served_disaggregated

MODEL, COEFFICIENTS = "facebook/opt-13b", "profiles/distserve/profiler-a100-80g.distserve.json"
#: by rate; runs of 300 requests end soon, the others last 100 s
RUNS = tuple(
    f"distserve-c21d11-{run}"
    for run in (
        "300-3", "300-4.5", "450-4.5", "300-6", "600-6", "300-7.5", "750-7.5", "300-9", "900-9", "300-10.5",
        "1050-10.5", "300-12", "1200-12",
    )
)  # fmt: skip
LIMIT_PERCENT = 15.0
KNEE_TPOT_S = 0.1  #: DistServe's own SLO on TPOT for this model and these requests (section 6.1)
BLOCK_TOKENS, MAX_MODEL_LEN = 16, 2048
RAY_CALL_S = 0.005
#: 600 GB/s, GB as in the artifact: 2^30 bytes; a migration is one call through Ray and 0.1 ms
LINK = Link(600 * 2**30, RAY_CALL_S + 1e-4)
#: 40 layers of 5120 keys and as many values, 2 bytes each
KV_BYTES_PER_TOKEN = 40 * 2 * 5120 * 2
WORST_ABOVE = 3  #: runs at or above the knee whose TPOT is explained

ABOUT = (
    "DistServe, OPT-13B, prefill on two A100-80GB (TP 2), decode on one, per request: same arrivals and lengths, whole "
    "prompts first come first served, published step times, KV capacities and limits. Nothing is fitted: the host's "
    "time is what the authors' own simulated worker adds, 5 ms for each call through Ray (one a step, one a "
    "migration), and NVLink is its 600 GB/s and 0.1 ms. These constants were taken from the artifact with all runs in "
    "view. The knee is the first rate at which a run's mean TPOT exceeds 0.1 s, their SLO."
)


def compare(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Predict every run."""
    runs = read_runs(data_dir, RUNS)
    replay = Replay(data_dir)
    records = []
    for run in runs:
        records.append(replay.serve(run, RAY_CALL_S))
        progress(len(records), len(runs))
    predicted = [seen_by_clients(record) for record in records]
    measured_knee = knee(runs, [run.measured for run in runs], "tpot_s", KNEE_TPOT_S)
    by_run = [points_of(run, latencies) for run, latencies in zip(runs, predicted, strict=True)]
    below = [i for i, run in enumerate(runs) if run.rate_per_s < measured_knee]
    apart = knee(runs, predicted, "tpot_s", KNEE_TPOT_S) - measured_knee
    above = [i for i in range(len(runs)) if i not in below]
    worst = sorted(above, key=lambda i: -abs(by_run[i][1].error_percent))[:WORST_ABOVE]
    return Report(
        case="distserve-disaggregated",
        about=ABOUT,
        points=tuple(point for points in by_run for point in points),
        checks=(
            *(Check(f"{p.label}: {p.group}", p.error_percent, LIMIT_PERCENT) for i in below for p in by_run[i]),
            Check(f"knee, measured at {measured_knee:g}/s", apart, 0.0, "requests/s"),
        ),
        rows=tuple(
            row for run, points in zip(runs, by_run, strict=True) for row in rows_of(run, points, measured_knee)
        ),
        notes=(
            _without_calls([runs[i] for i in below], replay),
            _stands_still([runs[i] for i in below], [records[i] for i in below]),
            *_ended_early([runs[i] for i in above], [by_run[i] for i in above]),
            *(_memory(runs[i], records[i], replay.decode_tokens) for i in worst),
        ),
    )


class Replay:
    """The two instances, and the runs served on them."""

    def __init__(self, data_dir: Path) -> None:
        self._gpus = [Fitted.from_distserve(data_dir / COEFFICIENTS, MODEL, tp) for tp in (2, 1)]
        self._prefill_tokens, self.decode_tokens = (kv_capacity_tokens(data_dir, MODEL, tp) for tp in (2, 1))

    def serve(self, run: Run, call_s: float) -> Record:
        """Serve a run's requests, each step `call_s` longer than the GPU's time."""
        prefill_gpu, decode_gpu = (Host(gpu, step_s=call_s) for gpu in self._gpus)
        return served_disaggregated(
            run.workload,
            _instance("prefill", Fcfs(8192, 128, watermark=0.0), prefill_gpu, self._prefill_tokens),
            _instance("decode", Fcfs(65536, 1024, watermark=0.0), decode_gpu, self.decode_tokens),
            Disaggregation(LINK, KV_BYTES_PER_TOKEN, RoundRobin()),
        )


def _instance(role: Role, scheduler: Fcfs, latency: Host, kv_tokens: int) -> InstanceSpec:
    return InstanceSpec(scheduler, latency, kv_tokens // BLOCK_TOKENS, MAX_MODEL_LEN, BLOCK_TOKENS, role=role)


def _without_calls(runs: Sequence[Run], replay: Replay) -> str:
    """What the one constant that is no GPU time does."""
    seen = [seen_by_clients(replay.serve(run, 0.0)).mean("tpot_s") for run in runs]
    errors = ", ".join(f"{100 * (x / run.measured.mean('tpot_s') - 1):+.0f}" for x, run in zip(seen, runs, strict=True))
    quickest_s = min((float(np.nanmin(run.measured.tpot_s)) for run in runs), default=np.nan)
    return (
        f"Without the 5 ms of a Ray call in each step, mean TPOT below the knee would be off by {errors} %. The "
        f"quickest measured request took {1e3 * quickest_s:.1f} ms a token; one sequence alone takes the GPU 20 ms."
    )


def _stands_still(runs: Sequence[Run], records: Sequence[Record]) -> str:
    """A cost of migrations that we do not have."""
    shares = []
    for run, record in zip(runs, records, strict=True):
        moved_s = (record.transfers["end_s"] - record.transfers["start_s"]).sum()
        shares.append(f"{100 * moved_s / run.workload.arrival_s[-1]:.1f}")
    return (
        f"Their decode loop waits for each migration to end, ours decodes on: {', '.join(shares)} % of the time of the "
        "runs below the knee. It is missing in our TPOT."
    )


def _ended_early(runs: Sequence[Run], by_run: Sequence[Sequence[Point]]) -> list[str]:
    """Name the runs that another reading of the knee, by run, would have a target for."""
    early = [
        f"{run.name} (TTFT, TPOT, E2E off by {', '.join(f'{point.error_percent:+.0f}' for point in points)} %)"
        for run, points in zip(runs, by_run, strict=True)
        if run.measured.mean("tpot_s") <= KNEE_TPOT_S
    ]
    if not early:
        return []
    return [f"At a rate at or above the knee, but ended before their own mean TPOT exceeded it: {', '.join(early)}."]


def _memory(run: Run, record: Record, capacity_tokens: int) -> str:
    """Say where a run at or above the knee gets its TPOT from."""
    sides = run.measured.tpot_s, seen_by_clients(record).tpot_s
    mean, median, most = (
        "{:.0f} ms measured, {:.0f} ms predicted".format(*(1e3 * of(side) for side in sides))
        for of in (np.nanmean, np.nanmedian, np.nanmax)
    )
    return (
        f"{run.name}: prefill had got {run.most_kv_tokens():,} tokens ready at once, the decode side holds "
        f"{capacity_tokens:,}. Requests that wait in between, with few tokens to spread it over, make the mean TPOT "
        f"({mean}; the worst request {most}); its median is {median}. Requests that the decode side lacks memory "
        f"for are swapped out there and computed again here ({int(record.requests['preemptions'].sum())} times)."
    )
