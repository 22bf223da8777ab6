"""Every decision of vLLM 0.33.0's own scheduler on random workloads in virtual time, taken by our engine too."""

from __future__ import annotations

from pathlib import Path

from llmsim.cluster import InstanceSpec
from llmsim.errors import InputError
from llmsim.scheduler import Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.priority import Priority
from llmsim.studies.validation.case_report import Point, Report
from llmsim.studies.validation.decision_report import checks, compare_all, mean_ttft_s, notes, rows
from llmsim.studies.validation.decision_runs import VllmRun, VllmSettings, read_run
from llmsim.studies.validation.decisions import Agreement, compare_run
from llmsim.studies.validation.run_case import Progress

FOLDER = "peers/vllm"
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
    agreements = compare_all(data_dir / FOLDER, _compared, progress)
    return Report(
        case="vllm-decisions",
        about=ABOUT,
        points=tuple(_point(agreement) for agreement in agreements),
        checks=checks(agreements, CHECKED),
        rows=rows(agreements, "vllm", {f"same_{part}": part for part in CHECKED}),
        notes=notes(agreements),
    )


def _compared(file: Path) -> Agreement:
    run = read_run(file)
    return compare_run(run, spec_of(run))


def spec_of(run: VllmRun) -> InstanceSpec:
    """An instance with the settings of a run."""
    settings = run.settings
    return InstanceSpec(
        _scheduler(settings),
        run.latency,
        num_gpu_blocks=settings.num_blocks,
        max_model_len=settings.max_model_len,
        block_tokens=settings.block_size,
        prefix_caching=settings.prefix_caching,
    )


def _scheduler(settings: VllmSettings) -> Scheduler:
    kind = SCHEDULERS.get(settings.policy)
    if kind is None:
        raise InputError(f"policy = {settings.policy!r}, expected {' or '.join(SCHEDULERS)}")
    # more seats than tokens in a step cannot be used, and vLLM's own check of that is not part of its scheduler
    seats, budget = settings.max_num_seqs, settings.max_num_batched_tokens
    thresholds = {name: value for name in THRESHOLD if (value := getattr(settings, name)) is not None}
    return kind(
        max_num_batched_tokens=budget, max_num_seqs=min(seats, budget), watermark=settings.watermark, **thresholds
    )


def _point(agreement: Agreement) -> Point:
    run = agreement.run
    theirs_s, ours_s = (mean_ttft_s(run, fates) for fates in (run.outcome, agreement.ours))
    return Point(run.kind, f"{run.name}, mean TTFT", "s", theirs_s, ours_s)
