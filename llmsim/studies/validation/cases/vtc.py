"""Fair queues on an A10G with Llama-2-7B, as VTC's authors measured them (arXiv 2401.00588, OSDI 2024): 19 runs.

S-LoRA's loop as the runs show it (slora.py), our queues, the same requests. Step times are fitted to one run, first
come, first served; what tenants get, and when, is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from pathlib import Path

import numpy as np

from llmsim.cluster import InstanceSpec
from llmsim.fair_queue import Charges
from llmsim.latency.fitted import Fitted
from llmsim.studies.validation.case_report import Check, Constant, Point, Report
from llmsim.studies.validation.replay import replay
from llmsim.studies.validation.slora import SLora
from llmsim.studies.validation.vtc_runs import TenantsRun, fit_steps, read_run
from llmsim.workload import asked
from llmsim.workload.classes import Classes
from llmsim.workload.contract import Workload

FITTED_ON = "FCFS_real"
#: pool of 10,000 tokens, output tokens weigh 2: 2 max(w_p L, w_q M)
BOUND_TOKENS = 2 * 2 * 10_000
LIMIT_TIMES = 2.0
END_LIMIT_PERCENT = 5.0
#: gaps that differ by less are not in an order
APART = 1.1
#: for runs that are missed: how often they are replayed with arrivals up to so much later
JITTERED, JITTER_S = 10, 0.2
MAX_MODEL_LEN, BLOCKS = 4096, 2000  #: more than the pool: the loop itself keeps to that


@dataclass(frozen=True)
class Setup:
    """A measured run, and how its queue goes."""

    name: str
    family: str  #: runs of one workload
    charges: Charges | None  #: None: first come, first served
    error: float = 0.0  #: of predicted outputs: uniform within so much of the truth
    weights: tuple[float, ...] = ()

    @property
    def bounded(self) -> bool:
        """Whether VTC's bound holds for it."""
        return self.charges is not None and self.charges.lift


FAIR, KNOWN, NO_LIFT = Charges(), Charges(predicted=True), Charges(lift=False)
WEIGHTS = (1.0, 2.0, 3.0, 4.0)
WEIGHTED = Charges(weights=dict(zip("0123", WEIGHTS, strict=True)))
RUNS = (
    Setup("VTC_overload", "two tenants", FAIR),
    Setup("FCFS_overload", "two tenants", None),
    Setup("VTC_overload-multi", "eight tenants", FAIR),
    Setup("VTC_pred_50_overload-multi", "eight tenants", KNOWN, error=0.5),
    Setup("VTC_oracle_overload-multi", "eight tenants", KNOWN),
    Setup("WVTC_overload-weighted", "weights 1 to 4", WEIGHTED, weights=WEIGHTS),
    Setup("VTC_on_off_less", "on and off", FAIR),
    Setup("VTC_on_off_overload", "on and off, overload", FAIR),
    Setup("VTC_poisson_short_long", "short and long", FAIR),
    Setup("FCFS_poisson_short_long", "short and long", None),
    Setup("VTC_dist_shift", "shift", FAIR),
    Setup("LCF_dist_shift", "shift", NO_LIFT),
    Setup("VTC_real", "27 tenants", FAIR),
    Setup("VTC_oracle_real", "27 tenants", KNOWN),
    Setup("LCF_real", "27 tenants", NO_LIFT),
    Setup("FCFS_real", "27 tenants", None),
    Setup("LShare_rpm5_real", "27 tenants", None),
    Setup("LShare_rpm20_real", "27 tenants", None),
    Setup("LShare_rpm30_real", "27 tenants", None),
)

ABOUT = (
    "19 runs of VTC's artifact (A10G, Llama-2-7B on S-LoRA, pool of 10,000 tokens): the engine's loop, read off the "
    "runs (whole prompts, looked for before every eleventh step, at most 3,071 prompt tokens of a step, admission by "
    "the peak of memory), our queues, the same requests. Gaps of service (prompt + 2 x output tokens, per weight) are "
    "counted alike in both, from first and last tokens, over intervals in which both tenants wait."
)


@dataclass(frozen=True)
class Pair:
    """A run as it was measured, and as it is replayed."""

    setup: Setup
    measured: TenantsRun
    predicted: TenantsRun
    gaps: tuple[float, float]  #: largest gap of service of both, tokens

    @property
    def ratio(self) -> float:
        """How many times too large or too small our gap is."""
        one, two = self.gaps
        return max(two / one, one / two)


def compare(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Fit step times to one run, replay all."""
    latency, rms_s = fit_steps(read_run(data_dir, FITTED_ON))
    pairs: list[Pair] = []
    for setup in RUNS:
        run = read_run(data_dir, setup.name)
        again = replayed(run, setup, latency)
        gaps = run.largest_gap_tokens(setup.weights), again.largest_gap_tokens(setup.weights)
        pairs.append(Pair(setup, run, again, gaps))
        progress(len(pairs), len(RUNS))
    return Report(
        case="vtc",
        about=ABOUT,
        points=tuple(point for pair in pairs for point in _points(pair)),
        checks=(*(check for pair in pairs for check in _checks(pair)), *_orders(pairs)),
        rows=tuple(_row(pair) for pair in pairs),
        fitted=_constants(latency),
        notes=_notes(pairs, latency, rms_s),
    )


def replayed(run: TenantsRun, setup: Setup, latency: Fitted) -> TenantsRun:
    """Serve the requests of a run again."""
    tenants, client = np.unique(run.client, return_inverse=True)
    names = tuple(str(number) for number in range(len(tenants)))
    predicted = None
    if setup.charges is not None and setup.charges.predicted:
        off = 1 + setup.error * np.random.default_rng(0).uniform(-1, 1, len(client))
        predicted = np.maximum(np.rint(run.output_tokens * off), 1).astype(np.int64)
    workload = Workload(
        run.arrival_s,
        run.prompt_tokens,
        run.output_tokens,
        run.name,
        predicted_output_tokens=predicted,
        classes=Classes(client, names, (0,) * len(names), names),
        asked=asked.exactly(run.output_tokens),
    )
    found = replay(workload, InstanceSpec(SLora(setup.charges), latency, BLOCKS, MAX_MODEL_LEN))
    return run.served(found.ttft_s, found.e2e_s)


def _points(pair: Pair) -> tuple[Point, ...]:
    role = "fitted" if pair.setup.name == FITTED_ON else "predicted"
    return (
        Point("end", pair.setup.name, "s", pair.measured.end_s, pair.predicted.end_s, role),
        Point("largest gap", pair.setup.name, "tokens", *pair.gaps),
    )


def _checks(pair: Pair) -> tuple[Check, ...]:
    name, end = pair.setup.name, _points(pair)[0]
    found = [Check(f"gap of {name}, times the measured one or its inverse", pair.ratio, LIMIT_TIMES, "x")]
    if end.role == "predicted":
        found.append(Check(f"end of {name}", end.error_percent, END_LIMIT_PERCENT))
    if pair.setup.bounded:
        found.append(Check(f"gap of {name} within VTC's bound", pair.gaps[1], BOUND_TOKENS, "tokens"))
    return tuple(found)


def _orders(pairs: Sequence[Pair]) -> tuple[Check, ...]:
    """Of the runs of one workload: pairs of schedulers that stand in another order of gaps than was measured."""
    checks = []
    for family, group in groupby(pairs, key=lambda pair: pair.setup.family):
        apart = [
            (one, two)
            for one, two in combinations(list(group), 2)
            if max(one.gaps[0], two.gaps[0]) > APART * min(one.gaps[0], two.gaps[0])
        ]
        wrong = sum((one.gaps[0] < two.gaps[0]) != (one.gaps[1] < two.gaps[1]) for one, two in apart)
        if apart:
            checks.append(Check(f"{family}: of {len(apart)} pairs of schedulers in another order", wrong, 0, "pairs"))
    return tuple(checks)


def _row(pair: Pair) -> Mapping[str, str | float]:
    return {
        "run": pair.setup.name,
        "workload": pair.setup.family,
        "measured_end_s": pair.measured.end_s,
        "predicted_end_s": pair.predicted.end_s,
        "measured_ttft_s": float(pair.measured.ttft_s.mean()),
        "predicted_ttft_s": float(pair.predicted.ttft_s.mean()),
        "measured_gap_tokens": pair.gaps[0],
        "predicted_gap_tokens": pair.gaps[1],
        "ratio": pair.gaps[1] / pair.gaps[0],
    }


def _constants(latency: Fitted) -> tuple[Constant, ...]:
    (step_s, context_s, sequence_s), (prompt_s, token_s, _) = latency.decode_small, latency.prefill
    named = {
        "decode step": step_s,
        "each sequence": sequence_s,
        "each token of context": context_s,
        "prefill step": prompt_s,
        "each prompt token": token_s,
    }
    return tuple(Constant(name, value, "s", f"E2E - TTFT of {FITTED_ON}") for name, value in named.items())


def _notes(pairs: Sequence[Pair], latency: Fitted, rms_s: float) -> tuple[str, ...]:
    unfair = (pair for pair in pairs if pair.setup.charges is None)
    paces = [f"{pair.setup.name} {pair.measured.end_s / pair.predicted.end_s - 1:+.1%}" for pair in unfair]
    missed = [pair for pair in pairs if pair.ratio > LIMIT_TIMES]
    return (
        f"The five step times explain E2E - TTFT of {FITTED_ON} to {rms_s:.3f} s (RMS). The runs have paces of their "
        f"own: measured ends against ours, first come, first served: {', '.join(paces)}.",
        "VTC's gap comes from requests that are replaced together: where all are equally long, those that ended "
        "together all go to the tenant that is behind, which is ahead when they have been served. With a continuous "
        "batch, in which each seat is refilled when it is free, the gap of VTC_overload is a third of that.",
        *(
            f"{pair.setup.name}: with arrivals up to {JITTER_S:g} s later, at random, our gap is "
            f"{', '.join(f'{gap:,.0f}' for gap in _jittered(pair, latency))}; measured {pair.gaps[0]:,.0f}."
            for pair in missed
        ),
        *(
            f"{pair.setup.name}: with known outputs charged in advance our gap is {_foreseen(pair, latency):,.0f}."
            for pair in missed
            if pair.setup.weights
        ),
        "Requests that were refused (LShare_rpm) are left out as they were refused: the artifact's windows are not the "
        "token buckets of gateway.limits, and are not replayed. Errors of predictions (pred_50) are drawn anew.",
    )


def _foreseen(pair: Pair, latency: Fitted) -> float:
    """Our gap where outputs are charged with prompts."""
    assert pair.setup.charges is not None
    setup = replace(pair.setup, charges=replace(pair.setup.charges, predicted=True))
    return replayed(pair.measured, setup, latency).largest_gap_tokens(setup.weights)


def _jittered(pair: Pair, latency: Fitted) -> list[float]:
    """Our gap where requests come a little later: a run may be in one of two states, by its first seconds."""
    run, gaps = pair.measured, []
    for seed in range(JITTERED):
        later_s = run.arrival_s + np.random.default_rng(seed).uniform(0, JITTER_S, len(run.arrival_s))
        order = np.argsort(later_s, kind="stable")
        columns = {name: getattr(run, name)[order] for name in ("client", "prompt_tokens", "output_tokens")}
        again = replayed(replace(run, arrival_s=later_s[order], **columns), pair.setup, latency)
        gaps.append(again.largest_gap_tokens(pair.setup.weights))
    return sorted(gaps)
