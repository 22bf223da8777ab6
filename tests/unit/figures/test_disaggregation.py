"""Claim 8: how it is judged, on numbers that are made up, and the numbers of a run that it needs."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim import experiment
from llmsim.figures import disaggregation
from llmsim.figures.numbers import measure
from llmsim.figures.plan import Plan, Sweep
from llmsim.record import Floats
from llmsim.scenario import load_scenario

CHANGES = ["workload.requests=150", "pool.1.num_gpu_blocks=400"]


def made_up(plan: Plan, *, throughput: float, idle: float, late_s: float) -> Sweep:
    """Numbers of a plan, the same but for a little noise: with changes as given, without any 100 and 1."""
    changed = bool(plan.changes)
    noise = np.linspace(-1e-3, 1e-3, plan.seeds)[None, :]

    def row(value: float) -> Floats:
        return value + noise

    return Sweep(plan, {
        "throughput": row(throughput if changed else 100.0), "requests_per_s": row(1.0),
        "tokens_arrivals": row(100.0), "idle_5_arrivals": row(idle if changed else 1.0),
        "ttft_s_mean": row(1.0), "tbt_s_p99": row(0.1), "tpot_s_p50": row(0.05),
        "handover_s_mean": row(1.0), "preempted": row(0.1),
        "late_s_preempted": row(1.0 + late_s), "late_s_others": row(1.0),
    })  # fmt: skip


@pytest.mark.parametrize(
    ("throughput", "idle", "late_s", "holds"),
    [
        (99.5, 5.0, 2.0, True),  # throughput loses half a percent, smooth goodput 10 of 97.5
        (98.5, 5.0, 2.0, False),  # throughput does not look fine
        (99.5, 1.1, 2.0, False),  # smooth goodput loses less than it
        (99.5, 5.0, -0.5, False),  # those who are preempted wait no longer than others
    ],
)
def test_the_claim_is_that_throughput_hardly_moves_and_smooth_goodput_does(
    throughput: float, idle: float, late_s: float, holds: bool
) -> None:
    sweeps = {
        plan: made_up(plan, throughput=throughput, idle=idle, late_s=late_s) for plan in disaggregation.plans(True)
    }
    claim = disaggregation.make(sweeps, True).claim

    assert claim.passed is holds
    smooth = 100 * ((100 - 2.5 * idle) / 97.5 - 1)
    assert f"smooth goodput by {smooth:.2f} ± " in claim.evidence[0]
    assert f"users wait {late_s:.2f} ± 0.00 s longer" in claim.evidence[1]


def test_the_numbers_of_a_disaggregated_run_are_those_of_its_record() -> None:
    scenario = load_scenario("paper/disaggregated_qwen", CHANGES)
    found = measure(scenario, delayed=False)
    run = experiment.run(scenario)
    stages = run.score["stages"]
    times = run.delivered
    # lateness by hand: token i of a request is wanted i / 5 s after its arrival
    late_s = np.array([
        max(0.0, float(np.max(t - times.arrival_s[r] - np.arange(1, len(t) + 1) / 5)))
        for r, t in ((r, times.token_times_s(r)) for r in range(len(times)))
    ])  # fmt: skip
    hit = run.record.requests["preemptions"] > 0

    assert 0 < hit.sum() < len(hit)
    assert found["preempted"] == hit.mean()
    assert found["late_s_preempted"] == pytest.approx(late_s[hit].mean())
    assert found["late_s_others"] == pytest.approx(late_s[~hit].mean())
    waits = sum(stages[name]["mean"] for name in ("memory_wait_s", "transfer_s", "decode_queue_s"))
    assert found["handover_s_mean"] == pytest.approx(waits)


def test_numbers_of_handovers_are_those_of_disaggregated_runs_only() -> None:
    scenario = load_scenario("paper/sharegpt_llama", ["workload.requests=30", "window.start_s=0", "window.end_s=20"])

    assert "handover_s_mean" not in measure(scenario, delayed=False)
