"""Step times of our models against composed whole steps of other people's tables, for every GPU and model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from llmsim.latency.profile import StepProfile, load_profile
from llmsim.latency.step_errors import (
    Reference,
    StepError,
    in_words,
    not_compared,
    references,
    relative_errors,
    step_errors,
    summed,
)
from llmsim.studies.validation.case_report import Check, Point, Report

MEDIAN_PERCENT, P90_PERCENT = 2.0, 6.0  #: targets of the table model

ABOUT = (
    "GPU time of one step: our table (measured operators, composed) and our roofline (data sheet and architecture) "
    "against the reference steps of profiles/iteration_times_ms.csv; absolute relative errors. A mixed step is prompt "
    "tokens + sequences x context of each"
)
SAME_OPERATORS = (
    "The reference rests on the same operator measurements as the table: this checks our composition and "
    "interpolation, not the operators. Whole engines are in the other cases."
)

#: models whose attention the reference composes in another way than we do: compared, but no target
OTHERWISE = ("llama-2-7b",)
NO_TARGET = (
    "llama-2-7b has 32 KV heads, and operators were measured with up to 8: the reference takes four times the "
    "attention of 8 heads, we that of four times the sequences, which is the same work. No target."
)
SUMMED = (
    "The reference adds operators up also in mixed steps. On A100 and L40S decodes beside a prompt take longer in our "
    "simulations (FlashAttention 2, llmsim.latency.mixed_attention), which is left out here."
)
BY_KIND = "Prefill, decode and mixed steps apart: in the rows of --json, and of validation.json in the folder of --out."


def compare(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Compare every reference step; targets are the table's, the roofline's errors are stated."""
    errors = step_errors(data_dir)
    progress(1, 2)
    shipped = [reference for reference in references(data_dir) if reference.shipped]
    points = tuple(point for reference in shipped for point in _points(reference))
    left_out = ", ".join(not_compared(data_dir))
    return Report(
        case="steps",
        about=ABOUT,
        points=points,
        checks=tuple(check for row in errors for check in _checks(row)),
        rows=tuple(asdict(row) for row in errors),
        notes=(
            SAME_OPERATORS,
            NO_TARGET,
            SUMMED,
            BY_KIND,
            _beyond(shipped),
            f"Without operator tables, so not compared with the table: {left_out}.",
        ),
    )


def _beyond(shipped: list[Reference]) -> str:
    """How many reference steps are not compared since nothing was measured there, and how they differ."""
    errors = []
    for reference in shipped:
        profile = _profile(reference)
        beyond = reference.points.drop(reference.within(profile).points.index)
        errors += relative_errors(summed(profile), beyond).tolist()
    low, middle, high = np.percentile(errors, [5, 50, 95]) * 100
    return (
        f"Not compared, {len(errors)} of {sum(len(r.points) for r in shipped)} reference steps: their decode attention "
        "lies beyond the largest context measured with so many sequences. The reference goes on there in proportion to "
        f"the context, we by what a KV token takes: {middle:+.1f} % (5th to 95th percentile {low:+.1f} to {high:+.1f})."
    )


def _profile(reference: Reference) -> StepProfile:
    assert reference.gpu is not None
    return load_profile(reference.gpu.name, reference.model, reference.tensor_parallel_size)


def _checks(row: StepError) -> list[Check]:
    if (row.latency, row.kind) != ("table", "all") or row.model in OTHERWISE:
        return []
    case = f"{row.gpu} {row.model} tp{row.tensor_parallel_size}"
    return [
        Check(f"{case}: median error", row.median_percent, MEDIAN_PERCENT),
        Check(f"{case}: 90th percentile error", row.p90_percent, P90_PERCENT),
    ]


def _points(reference: Reference) -> list[Point]:
    profile = _profile(reference)
    table, steps = summed(profile), reference.within(profile).points
    errors = relative_errors(table, steps).tolist()
    columns = (steps[name].tolist() for name in ("kind", "prefill_tokens", "decode_bs", "context", "iter_ms"))
    return [
        Point(kind, f"{reference.label}: {in_words(prefill, batch, context)}", "s", 1e-3 * ms, 1e-3 * ms * (1 + error))
        for (kind, prefill, batch, context, ms), error in zip(zip(*columns, strict=True), errors, strict=True)
    ]
