"""More ranks of expert parallelism at the same batch on each: less time a token, and more of it the all-to-all.

On measured operators of an H100: the experts of DeepSeek-R1 (SGLang 0.5.14) as each rank has them, and DeepEP's
dispatch and combine within a node of 8. llmsim refuses attention ranks by name, so that this is a claim on the tables,
which a step time of such an instance would rest on.
"""

import numpy as np
import pandas as pd
import pytest

from llmsim.latency.compose import evenly_dealt
from llmsim.latency.hardware import load_model
from llmsim.latency.operators import ExpertSizes, Kernels, Operators
from places import evidence

RANKS = (2, 4, 8)  #: of a node; the table of one rank beats the memory's bandwidth, and is refused
EACH = 32  #: sequences on a rank


@pytest.fixture(scope="module")
def folder():
    return evidence("profiles/ops_moe/h100_sxm")


@pytest.fixture(scope="module")
def experts_s(folder):
    """Seconds of a layer's routed experts on one of so many ranks, `EACH` sequences on each, routed uniformly."""
    model, operators = load_model("deepseek-r1"), Operators(folder.parent, folder.name, Kernels("sglang", "0.5.14"))
    experts = model.experts
    times = []
    for ranks in RANKS:
        sizes = ExpertSizes(model.hidden_size, experts.moe_intermediate_size, 8, 256, 1, ranks, "fp8_block")
        at = evenly_dealt(experts, np.array([float(EACH * ranks)]))
        times.append(float(np.interp(at, *operators.moe_s(sizes))[0]))
    return np.array(times)


@pytest.fixture(scope="module")
def exchange_s(folder):
    """Seconds to send tokens of `EACH` sequences to their experts and back, on each of 8 GPUs."""
    table = pd.read_parquet(folder / "comm/sglang/0.5.12/wideep_deepep_ll_perf.parquet")
    row = table[(table.hidden_size == 7168) & (table.num_experts == 256) & (table.num_token == EACH)].iloc[0]
    return 1e-6 * (row.dispatch_avg_t_us + row.combine_avg_t_us)


def test_each_rank_reads_fewer_experts(experts_s):
    """Of 256 experts 222 wake with 64 sequences and all with 256: two ranks read 111 each, eight 32."""
    assert (np.diff(experts_s) < 0).all()
    assert experts_s[0] / experts_s[-1] == pytest.approx(111 / 32, rel=0.25)


def test_more_ranks_take_less_time_also_with_the_all_to_all(experts_s, exchange_s):
    whole_s = experts_s + exchange_s

    assert (np.diff(whole_s) < 0).all()
    assert whole_s[-1] < 0.5 * whole_s[0]
    assert (np.diff(exchange_s / whole_s) > 0).all()  # it does not shrink with the ranks: more and more of what is left
