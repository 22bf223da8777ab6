"""17 runs of Vidur, every request to the digit: the engine against somebody else's, through plug-ins alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from llmsim.cluster import InstanceSpec, simulate
from llmsim.routers.round_robin import RoundRobin
from llmsim.workload.contract import Workload
from oracles.vidur_peer import VidurSarathi, VidurTimes, VidurVllm
from places import DATA, evidence

VIDUR = DATA / "peers/vidur"
FIXED = [f"fixed_512_128_q{rate}_n1000" for rate in (2, 6, 9, 12)]
LOGNORMAL = ["lognormal_q4_n2000", "lognormal_q6_n2000"]
SHORT_OF_MEMORY = ["lognormal_q6_n2000__nb1000", "lognormal_q6_n2000__nb1500"]
RUNS = [(policy, trace) for policy in ("vllm", "sarathi") for trace in (*FIXED, *LOGNORMAL, *SHORT_OF_MEMORY)]
RUNS.append(("vllm", "fixed_512_128_q6_n10000"))
BLOCKS = 7424


class VllmAskedEveryStep(VidurVllm):
    """Vidur restarts when the last block is gone, needed or not; a stretch ends only when one is needed."""

    asks_every_step = True


class SarathiAskedEveryStep(VidurSarathi):
    asks_every_step = True


@pytest.fixture(scope="module")
def times() -> VidurTimes:
    return VidurTimes(evidence("peers/vidur"))


@pytest.mark.parametrize(("policy", "trace"), RUNS)
def test_every_request_of_vidur(policy: str, trace: str, times: VidurTimes) -> None:
    name = f"vidur_{policy}_{trace}"
    expected = pd.read_csv(VIDUR / f"{name}.csv").sort_values("request_id")
    steps = pd.read_csv(VIDUR / "vidur_summary.csv").set_index("run").batches[name]
    _, _, blocks = trace.partition("__nb")
    if policy == "vllm":
        scheduler = VllmAskedEveryStep() if blocks else VidurVllm()
    else:
        scheduler = SarathiAskedEveryStep(times.generated) if blocks else VidurSarathi(times.generated)
    arrival_s = expected.arrived_at.to_numpy()
    workload = Workload(arrival_s, expected.prompt.to_numpy(), expected.output.to_numpy(), name)
    spec = InstanceSpec(scheduler, times, num_gpu_blocks=int(blocks or BLOCKS), max_model_len=1 << 20)

    record = simulate(workload, [spec], RoundRobin(), np.random.default_rng(0))

    first_token_s = record.requests["first_token_s"]
    if isinstance(scheduler, VidurSarathi):
        for id, read_s in scheduler.cut_read_s.items():
            first_token_s[id] = min(first_token_s[id], read_s)
    np.testing.assert_allclose(first_token_s - arrival_s, expected.ttft_s, rtol=0, atol=1e-6)
    np.testing.assert_allclose(record.requests["end_s"] - arrival_s, expected.e2e_s, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(record.requests["preemptions"], expected.restarts)
    assert record.steps["steps"].sum() == steps


def test_all_runs_of_the_peer_are_here(times: VidurTimes) -> None:
    there = {path.name.removesuffix("_batches.csv.gz") for path in VIDUR.glob("*_batches.csv.gz")}

    assert there == {f"vidur_{policy}_{trace}" for policy, trace in RUNS}
