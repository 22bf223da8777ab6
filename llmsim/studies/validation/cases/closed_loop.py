"""TPOT against concurrency: closed-loop runs of several engines on H100 and H200, as aiconfigurator collected them.

Nothing is tuned to these runs. Step times are composed from operator tables (vLLM's kernels, whatever the engine), the
host's times are those of vllm-0.11.0-h100, fitted to other people's runs of one model (`validate kubecon`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from llmsim.cluster import InstanceSpec
from llmsim.errors import InputError
from llmsim.experiment.ranks import of_all_ranks
from llmsim.latency import hardware
from llmsim.latency.compose import Choices, compose
from llmsim.latency.contract import LatencyModel
from llmsim.latency.data_parallel import of_profile
from llmsim.latency.host import Host
from llmsim.latency.operators import Kernels
from llmsim.scheduler import Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.sglang import Sglang
from llmsim.studies.validation.case_report import Check, Constant, Point, Report, Row
from llmsim.studies.validation.replay import Latencies, replay
from llmsim.studies.validation.silicon_contradictions import contradictory
from llmsim.studies.validation.silicon_runs import Run, read_runs

DENSE_OPERATORS, MIXTURE_OPERATORS = "profiles/ops", "profiles/ops_moe"
VLLM, SGLANG, SGLANG_OLD = Kernels("vllm", "0.24.0"), Kernels("sglang", "0.5.14"), Kernels("sglang", "0.5.9")
#: mixtures that compose: engines whose kernels are those of the operators, or near them. All others are shown, and not
#: promised
PROMISED = (
    "H200 vllm 0.18.0 gpt-oss-120b",
    "H100 vllm 0.18.0 gpt-oss-120b",
    "H200 sglang 0.5.9 deepseek-r1",
)
HOST_NAMES = ("step_s", "sequence_s", "eager_step_s")
HOST, ASYNCHRONOUS_HOST = "vllm-0.11.0-h100", "vllm-0.15.1"
MAX_NUM_BATCHED_TOKENS, MAX_NUM_SEQS = 8192, 1024
BLOCK_TOKENS, SGLANG_BLOCK_TOKENS = 16, 1
LACKING = "H100 vllm qwen3-32b bf16"
MEDIAN_PERCENT = 10.0  #: target for each group: our own: none is published

ABOUT = (
    "Closed loop: so many clients, fixed prompt and output lengths, mean TPOT. Our chunked_prefill (8192 tokens a "
    "step), of SGLang's runs our sglang, over step times composed from vLLM's operators, of DeepSeek-R1 SGLang's; host "
    f"times of {HOST}, none where the engine overlaps them; "
    "lengths, scheduling and KV cache of InferenceMAX's runs as its scripts have them; nothing tuned. Errors "
    "by GPU, engine, model and type of weights; of mixtures of experts, those that are promised have a target."
)


def compare(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Predict every run."""
    host, step_times = hardware.load_host(HOST), StepTimes(data_dir)
    everything = read_runs(data_dir)
    left_out = contradictory(everything)
    runs, refused = composed([run for run in everything if run.group not in left_out], step_times)
    bare, seen, automatic = [], [], []
    for done, run in enumerate(runs, start=1):
        gpu, blocks = step_times.of(run)
        bare.append(served(run, gpu, blocks).mean("tpot_s"))
        seen.append(served(run, gpu if hides_host(run) else with_host(gpu, host), blocks))
        if overlaps(run) and run.backend == "vllm":
            automatic.append((run, served(run, _with_what_is_left(gpu), blocks).mean("tpot_s")))
        progress(done, len(runs))
    points = [
        Point(run.group, run.label, "s", run.tpot_s, one.mean("tpot_s")) for run, one in zip(runs, seen, strict=True)
    ]
    rows = _rows(runs, points, bare)
    source = host.provenance.source.partition(":")[0]
    return Report(
        case="closed-loop",
        about=ABOUT,
        points=tuple(points),
        checks=tuple(
            Check(f"{row['group']}: median error", row["median_percent"], MEDIAN_PERCENT)
            for row in rows
            if row["promised"]
        ),
        rows=tuple(rows),
        fitted=tuple(Constant(f"host {name}", getattr(host, name), "s", source) for name in HOST_NAMES),
        notes=(
            *_notes(runs, seen),
            *_lacking(runs, points),
            _with_host_auto(automatic),
            *left_out.values(),
            *_not_composed(refused),
        ),
    )


def _notes(runs: Sequence[Run], seen: Sequence[Latencies]) -> tuple[str, ...]:
    """What the numbers say about the misses."""
    waits = [run.ttft_s / one.mean("ttft_s") for run, one in zip(runs, seen, strict=True) if run.backend == "sglang"]
    notes = [
        "Median and 90th percentile of the absolute errors; the bias is the median of the signed ones; GPU alone: the "
        "median without host time.",
        "InferenceMAX's scripts (github.com/SemiAnalysisAI/InferenceX) draw lengths from 80 to 100 % of those stated, "
        "ask vLLM for asynchronous scheduling, and keep keys and values of Llama-3.1-70B, and on B200 of GPT-OSS and "
        "DeepSeek-R1, in fp8. On H100 Llama-3.1-70B's requests wait as long as with bf16, which is taken there. Before "
        "this was known, with bf16 and stated lengths, Llama-3.1-70B was at 6.0 % on H100 and 4.0 % on H200 (vLLM; "
        "host times on top), 21.3 % on H200 (TensorRT-LLM). What is left on H100 is 0.7 ms on two GPUs to 1.7 on "
        "eight with 4 clients: the runs are of October 2025, of a vLLM whose asynchronous scheduling was new.",
        "aiconfigurator's own runs say nothing of it: lengths as stated, keys and values in bf16.",
        "Mixtures of experts, by version of the engine: operators are of vLLM 0.24.0 and SGLang 0.5.9 (H200) or "
        "0.5.14. vLLM since 0.14 and SGLang prepare the next step while the GPU computes: no host time.",
        "qwen3-235b-a22b-fp8 on vLLM 0.12: its TPOT is the same for 4 sequences as for 20. It takes matrix products "
        "in blocks of fp8 as long as vLLM's own tables have them, launched one by one, and all experts in every step: "
        "composed so here. Shipped profiles have other engines' tables, and the experts that wake: 29 (TP4) to 45 % "
        "(TP2) too fast for these runs. Chosen with the runs in view, so without a target. TensorRT-LLM on the same "
        "model, whose kernels do neither, takes the times of the shipped form.",
        "deepseek-r1 on B200: SGLang 0.5.14's tables of experts that all GPUs share beat the memory's bandwidth, and "
        "are refused; composed of experts dealt out whole, which these runs' were not.",
        "Mixtures without a target: blocks of fp8 on vLLM 0.16 to 0.19, slower than the operators' kernels, less so "
        "from version to version; GPT-OSS on vLLM 0.15 and B200, with other kernels (activations in mxfp8); "
        "experts dealt out to GPUs whole (EP).",
        "Ranks of attention in lockstep that share experts (DP), evenly loaded: of vLLM's runs that are called so, "
        "those that are told a second time without ranks, with the same TPOT to 2 %, are taken for runs without; in "
        "one of the three left, two GPUs with 512 clients, keys and values do not fit in bf16. TensorRT-LLM's "
        "DeepSeek-R1 is held against SGLang's kernels and vLLM's scheduler: its requests wait for seconds where ours "
        "start at once.",
    ]
    if waits:
        notes.append(
            f"sglang: its TTFT is {np.median(waits):.1f} times ours in the median, with its own scheduler, which lets "
            "prompts go first."
        )
    return tuple(notes)


def _lacking(runs: Sequence[Run], points: Sequence[Point]) -> tuple[str, ...]:
    """What steps of `LACKING` take longer than predicted, against clients: alike on any number of GPUs."""
    lacking: dict[int, dict[int, float]] = {}
    for run, point in zip(runs, points, strict=True):
        if run.group == LACKING and run.prompt_tokens == run.output_tokens:
            lacking.setdefault(run.tensor_parallel_size, {})[run.concurrency] = point.measured - point.predicted
    lines = []
    for size, of in sorted(lacking.items()):
        each, first = np.polyfit(np.array(list(of)), 1e3 * np.array(list(of.values())), 1)
        lines.append((size, first, each))
    said = "; ".join(f"TP{size} {first:.1f} ms and {each:.3f} for each client" for size, first, each in lines)
    if not said:
        return ()
    return (
        f"{LACKING}, outputs as long as prompts: a step lacks {said}. Alike on any number of GPUs, so no work that "
        "they share; its generation_config asks for top-k and top-p, which sort 151,936 logits of each sequence: "
        "likely the cause, and not measured apart.",
    )


def _with_host_auto(found: Sequence[tuple[Run, float]]) -> str:
    """What `host.profile = "auto"` gives for asynchronous vLLM, by group."""
    errors: dict[str, list[float]] = {}
    for run, tpot_s in found:
        errors.setdefault(run.group, []).append(100 * (tpot_s / run.tpot_s - 1))
    by_group = "; ".join(f"{name} {np.median(np.abs(e)):.1f} ({np.median(e):+.1f})" for name, e in errors.items())
    return (
        f"Asynchronous vLLM with what {ASYNCHRONOUS_HOST} says that nothing overlaps, as host.profile = auto has it, "
        f"in place of no host time; median error and bias in percent: {by_group or 'no such runs'}."
    )


def _not_composed(refused: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"not composed: {group}: {why}" for group, why in refused.items())


class StepTimes:
    """Step times and KV blocks by hardware and model, composed once each."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._known: dict[tuple[object, ...], tuple[LatencyModel, int]] = {}

    def of(self, run: Run) -> tuple[LatencyModel, int]:
        """Step times of the GPU alone, and KV blocks of one instance. InputError where they do not compose."""
        key = (run.group, run.tensor_parallel_size, run.data_parallel_size)
        if key not in self._known:
            gpu, model = run.hardware()
            size = run.tensor_parallel_size
            folder = DENSE_OPERATORS if run.weights and run.gpu != "b200-sxm" else MIXTURE_OPERATORS
            profile = compose(self._data_dir / folder, gpu, model, size, _choices(run, model))
            block_tokens = SGLANG_BLOCK_TOKENS if run.backend == "sglang" else BLOCK_TOKENS
            blocks = hardware.kv_blocks(gpu, model, tensor_parallel_size=size, block_tokens=block_tokens)
            self._known[key] = of_profile(profile), model.ranks * blocks
        return self._known[key]


def _choices(run: Run, model: hardware.Model) -> Choices:
    """Whose operators: of dense models the only ones; of mixtures those of the engine, in the version next to it."""
    if run.weights:
        return Choices(VLLM) if run.gpu == "b200-sxm" else Choices()
    if run.model == "deepseek-r1" and run.data_parallel_size > 1:
        return Choices(SGLANG_OLD, expert_parallel=True)
    if run.backend == "sglang":
        return Choices(SGLANG_OLD) if run.gpu == "h200-sxm" else Choices(SGLANG, expert_parallel=True)
    if run.launches_fp8_blocks:
        return Choices(VLLM, launched=True, expert_parallel=run.expert_parallel)
    gemm = SGLANG if model.dtype_of("attention") == "fp8_block" else None
    return Choices(VLLM, gemm, expert_parallel=run.expert_parallel)


def overlaps(run: Run) -> bool:
    """Whether its engine prepares the next step while the GPU computes, as far as we know."""
    return (run.inferencemax or not run.weights or run.backend == "sglang") and run.is_asynchronous


def hides_host(run: Run) -> bool:
    """Whether its engine's host has no time of its own in our prediction."""
    return overlaps(run) or (not run.weights and run.launches_fp8_blocks)


def composed(runs: Sequence[Run], step_times: StepTimes) -> tuple[list[Run], dict[str, str]]:
    """The runs whose step times compose and whose model fits, and of each group that does not, why."""
    refused: dict[str, str] = {}
    for run in {_named(run): run for run in runs}.values():
        try:
            step_times.of(run)
        except InputError as error:
            if run.weights:
                raise
            refused[_named(run)] = str(error).partition(": ")[2] or str(error)
    return [run for run in runs if _named(run) not in refused], refused


def _named(run: Run) -> str:
    ranks = f" DP{run.data_parallel_size}" if run.data_parallel_size > 1 else ""
    return f"{run.group} TP{run.tensor_parallel_size}{ranks}"


def with_host(gpu: LatencyModel, host: hardware.HostTimes) -> Host:
    """Step times with the engine's host."""
    return Host(gpu, host.step_s, host.sequence_s, host.eager_step_s, host.max_cudagraph_capture_size)


def _with_what_is_left(gpu: LatencyModel) -> Host:
    """With what asynchronous scheduling cannot overlap, as fitted to other people's runs."""
    host = hardware.load_host(ASYNCHRONOUS_HOST)
    return Host(gpu, serial_step_s=host.serial_step_s, serial_sequence_s=host.serial_sequence_s, overlapped=True)


def served(run: Run, latency: LatencyModel, blocks: int) -> Latencies:
    """Predict a run, by the scheduler of its engine: vLLM's, or SGLang's, which overlaps."""
    longest = run.prompt_tokens + run.output_tokens
    scheduler: Scheduler = of_all_ranks(ChunkedPrefill(MAX_NUM_BATCHED_TOKENS, MAX_NUM_SEQS), run.data_parallel_size)
    spec = InstanceSpec(scheduler, latency, blocks, longest)
    if run.backend == "sglang":
        scheduler = Sglang().on_gpu(run.hardware()[0].memory_bytes)
        # SGLang holds back a request that fills a context window to its last tokens
        spec = InstanceSpec(scheduler, latency, blocks, longest + 8, SGLANG_BLOCK_TOKENS, async_scheduling=True)
    return replay(run.workload(), spec, max_in_flight=run.concurrency)


def _rows(runs: Sequence[Run], points: Sequence[Point], bare_s: Sequence[float]) -> Sequence[Row]:
    rows = []
    for group in dict.fromkeys(point.group for point in points):
        mine = [i for i, point in enumerate(points) if point.group == group]
        errors = np.array([points[i].error_percent for i in mine])
        rows.append(
            {
                "group": group,
                "TP": ", ".join(map(str, sorted({runs[i].tensor_parallel_size for i in mine}))),
                "points": len(mine),
                "median_percent": float(np.median(np.abs(errors))),
                "p90_percent": float(np.percentile(np.abs(errors), 90)),
                "bias_error_percent": float(np.median(errors)),
                "promised": bool(runs[mine[0]].weights) or group in PROMISED,
                "GPU_alone_percent": float(100 * np.median([abs(bare_s[i] / runs[i].tpot_s - 1) for i in mine])),
            }
        )
    return rows
