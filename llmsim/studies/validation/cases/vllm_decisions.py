"""Every decision of vLLM 0.33.0's own scheduler on random workloads in virtual time, taken by our engine too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.cluster import InstanceSpec
from llmsim.errors import InputError
from llmsim.scheduler import Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.priority import Priority
from llmsim.studies.validation.case_report import Check, Point, Report
from llmsim.studies.validation.decision_runs import TICK_S, DecisionRun, Fate, read_run
from llmsim.studies.validation.decisions import Agreement, compare_run
from llmsim.studies.validation.run_case import Progress

FOLDER = "peers/vllm"
NAMED_DIFFERENCES = 8  #: workloads whose first difference is told
ABOUT = (
    "Random workloads that vLLM 0.33.0's unmodified scheduler, KV cache manager and block pool were driven with in "
    "virtual time; our engine with the same settings and step times. Compared are every step of its synchronous mode "
    "(start, end, prefill, decode, preempted, admitted with tokens found cached, KV blocks in use, waiting, running, "
    "finished) and what became of every request in both modes, to the tick. Nothing is fitted."
)
CHECKED = {
    "steps": "workloads with a step that differs",
    "outcome": "workloads with a request that fares otherwise",
    "async_outcome": "the same under asynchronous scheduling",
}
#: settings that the recorded workloads have as vLLM has them by default
THRESHOLD = ("long_prefill_token_threshold", "long_prefill_token_threshold_adaptive")
SCHEDULERS: dict[str, type[ChunkedPrefill]] = {"fcfs": ChunkedPrefill, "priority": Priority}


def compare(data_dir: Path, progress: Progress) -> Report:
    """Replay all workloads of `data_dir`/peers/vllm."""
    files = sorted((data_dir / FOLDER).glob("*.json"))
    if not files:
        raise InputError(f"{data_dir / FOLDER}: no workloads (*.json), expected some")
    agreements = []
    for done, file in enumerate(files):
        progress(done, len(files))
        run = read_run(file)
        agreements.append(compare_run(run, spec_of(run)))
    progress(len(files), len(files))
    return Report(
        case="vllm-decisions",
        about=ABOUT,
        points=tuple(point for agreement in agreements for point in _points(agreement)),
        checks=tuple(_check(part, name, agreements) for part, name in CHECKED.items()),
        rows=tuple(_rows(agreements)),
        notes=tuple(_notes(agreements)),
    )


def spec_of(run: DecisionRun) -> InstanceSpec:
    """An instance with the settings of a run."""
    settings = run.settings
    return InstanceSpec(
        _scheduler(settings),
        run.latency,
        num_gpu_blocks=settings["num_blocks"],
        max_model_len=settings["max_model_len"],
        block_tokens=settings["block_size"],
        prefix_caching=settings["prefix_caching"],
    )


def _scheduler(settings: dict[str, Any]) -> Scheduler:
    kind = SCHEDULERS.get(settings["policy"])
    if kind is None:
        raise InputError(f"policy = {settings['policy']!r}, expected {' or '.join(SCHEDULERS)}")
    seats = settings["max_num_seqs"]
    # more seats than tokens in a step cannot be used, and vLLM's own check of that is not part of its scheduler
    budget = settings["max_num_batched_tokens"]
    return kind(
        max_num_batched_tokens=budget,
        max_num_seqs=min(seats, budget),
        watermark=settings["watermark"],
        **{name: settings[name] for name in THRESHOLD if name in settings},
    )


def _check(part: str, name: str, agreements: Sequence[Agreement]) -> Check:
    return Check(name, sum(getattr(agreement, part) is not None for agreement in agreements), 0, "workloads")


def _rows(agreements: Sequence[Agreement]) -> list[dict[str, Any]]:
    kinds = list(dict.fromkeys(agreement.run.kind for agreement in agreements))
    rows = [_row(kind, [a for a in agreements if a.run.kind == kind]) for kind in kinds]
    return [*rows, _row("all", list(agreements))]


def _row(kind: str, agreements: Sequence[Agreement]) -> dict[str, Any]:
    return {
        "workloads_of": kind,
        "workloads": len(agreements),
        "steps_of_vllm": sum(len(agreement.run.steps) for agreement in agreements),
        "same_steps": sum(agreement.steps is None for agreement in agreements),
        "same_outcome": sum(agreement.outcome is None for agreement in agreements),
        "same_async_outcome": sum(agreement.async_outcome is None for agreement in agreements),
    }


def _points(agreement: Agreement) -> list[Point]:
    run = agreement.run
    theirs_s, ours_s = (_ttft_s(agreement, fates) for fates in (run.outcome, agreement.ours))
    return [Point(run.kind, f"{run.name}, mean TTFT", "s", theirs_s, ours_s)]


def _ttft_s(agreement: Agreement, fates: Sequence[Fate]) -> float:
    first_s = np.array([fate.first_token for fate in fates]) * TICK_S
    return float(np.mean(first_s - agreement.run.workload.arrival_s))


def _notes(agreements: Sequence[Agreement]) -> list[str]:
    apart = [agreement for agreement in agreements if agreement.first is not None]
    notes = [f"{agreement.run.name}, {agreement.first}" for agreement in apart[:NAMED_DIFFERENCES]]
    return (
        notes
        if len(apart) <= NAMED_DIFFERENCES
        else [*notes, f"{len(apart) - NAMED_DIFFERENCES} more workloads differ"]
    )
