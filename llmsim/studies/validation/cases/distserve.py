"""vLLM of late 2023 serving OPT-13B on one A100, as DistServe's authors measured it (OSDI 2024).

Step times are their published coefficients, KV memory is their published capacity, limits are those of the server
command in their artifact (evaluation/2-benchmark-serving/2-start-api-server.py): max_num_batched_tokens 16384,
max_num_seqs 1024, blocks of 16; 1 % watermark is vLLM's own. One host constant is fitted, on the slowest run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from llmsim.cluster import InstanceSpec
from llmsim.latency.fitted import Fitted
from llmsim.latency.host import Host
from llmsim.schedulers.fcfs import Fcfs
from llmsim.studies.validation.case_report import Check, Constant, Report
from llmsim.studies.validation.distserve_points import knee, points_of, rows_of
from llmsim.studies.validation.distserve_runs import Run, kv_capacity_tokens, read_runs
from llmsim.studies.validation.replay import Latencies, replay

MODEL, COEFFICIENTS = "facebook/opt-13b", "profiles/distserve/profiler-a100-80g.vllm.json"
FITTED_ON = "vllm-100-1"
PREDICTED = tuple(f"vllm-{run}" for run in ("150-1.5", "100-2", "200-2", "250-2.5", "300-3", "350-3.5", "400-4"))
LIMIT_PERCENT = 10.0
KNEE_TTFT_S = 1.0  #: the knee is the first rate whose mean TTFT exceeds this
BLOCK_TOKENS, MAX_MODEL_LEN = 16, 2048
PRECISION_S = 1e-6

ABOUT = (
    "vLLM of late 2023, OPT-13B, one A100-80GB, per request: whole prompts first (our fcfs, max_num_batched_tokens "
    "16384, max_num_seqs 1024, watermark 1 %), published step-time coefficients and KV capacity, same arrivals and "
    "lengths. Fitted: host time per sequence and step, so that the mean E2E of the 1/s run is right. Per sequence, as "
    "its host prepares inputs, samples and detokenises one sequence after the other in Python; that form was chosen "
    "knowing all runs (a constant per step gives too little load at high rates), its value was not."
)


def compare(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Fit on the first run, freeze, predict the others."""
    runs = read_runs(data_dir, (FITTED_ON, *PREDICTED))
    capacity_tokens = kv_capacity_tokens(data_dir, MODEL)
    gpu = Fitted.from_distserve(data_dir / COEFFICIENTS, MODEL)

    def predict(run: Run, sequence_s: float) -> Latencies:
        scheduler = Fcfs(max_num_batched_tokens=16384, max_num_seqs=1024)
        latency, blocks = Host(gpu, sequence_s=sequence_s), capacity_tokens // BLOCK_TOKENS
        return replay(run.workload, InstanceSpec(scheduler, latency, blocks, MAX_MODEL_LEN, BLOCK_TOKENS))

    sequence_s = fit(lambda value: predict(runs[0], value).mean("e2e_s") - runs[0].measured.mean("e2e_s"))
    predicted = []
    for run in runs:
        predicted.append(predict(run, sequence_s))
        progress(len(predicted), len(runs))
    measured_knee = knee(runs, [run.measured for run in runs], "ttft_s", KNEE_TTFT_S)
    predicted_knee = knee(runs, predicted, "ttft_s", KNEE_TTFT_S)
    by_run = [points_of(run, latencies, FITTED_ON) for run, latencies in zip(runs, predicted, strict=True)]
    below = {run.name for run in runs if run.rate_per_s < measured_knee}
    limited = (point for points in by_run for point in points if point.role == "predicted" and point.label in below)
    return Report(
        case="distserve",
        about=ABOUT,
        points=tuple(point for points in by_run for point in points),
        checks=(
            *(Check(f"{p.label}: {p.group}", p.error_percent, LIMIT_PERCENT) for p in limited),
            Check(f"knee, measured at {measured_knee:g}/s", predicted_knee - measured_knee, 0.0, "requests/s"),
        ),
        rows=tuple(
            row for run, points in zip(runs, by_run, strict=True) for row in rows_of(run, points, measured_knee)
        ),
        fitted=(Constant("host time per sequence and step", sequence_s, "s", f"mean E2E of {FITTED_ON}"),),
        notes=_evidence(runs, predicted, capacity_tokens),
    )


def fit(surplus: Callable[[float], float], most: float = 0.01) -> float:
    """Return the smallest value, 0 at least, at which a growing function is no longer negative (bisection)."""
    low, high = 0.0, most
    if surplus(low) >= 0:
        return low
    while high - low > PRECISION_S:
        middle = (low + high) / 2
        low, high = (middle, high) if surplus(middle) < 0 else (low, middle)
    return high


def _evidence(runs: Sequence[Run], predicted: Sequence[Latencies], capacity_tokens: int) -> tuple[str, ...]:
    """What the measured runs say about the misses."""
    tokens = int(runs[0].workload.prompt_tokens[1])
    alone = ", ".join(f"{1e3 * run.measured.ttft_s[1]:.0f}" for run in runs)
    rates = ", ".join(f"{run.rate_per_s:g}" for run in runs)
    most = max(run.most_kv_tokens() for run in runs)
    first = runs[0].workload.prompt_tokens
    longest = first > 1500
    knee_s = min((side.mean("ttft_s") for side in predicted if side.mean("ttft_s") > KNEE_TTFT_S), default=0.0)
    seen, said = (float(side.ttft_s[longest].mean()) for side in (runs[0].measured, predicted[0]))
    return (
        f"The same prompt of {tokens} tokens, alone on the engine, took {alone} ms to its first token in the runs at "
        f"{rates}/s, and would take {1e3 * predicted[0].ttft_s[1]:.0f} ms in ours: in the two runs at 2/s the engine "
        "itself was slower, which no constant from the 1/s run can know.",
        f"Never more than {most:,} tokens were in the measured engine's KV memory, even while requests queued for it; "
        f"the published capacity is {capacity_tokens:,} tokens. With less memory than stated it queues sooner: TTFT at "
        f"3/s and above. Our knee is a narrow one (mean TTFT {knee_s:.2f} s at its first rate).",
        f"Prompts of more than 1,500 tokens took {1e3 * seen:.0f} ms to their first token at 1/s, ours take "
        f"{1e3 * said:.0f} ms: the published prefill coefficients are too slow there, before any host time.",
    )
