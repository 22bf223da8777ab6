"""Who is preempted waits again, and may have to be dropped sooner than a running request."""

from __future__ import annotations

import numpy as np

from llmsim.abandonment import Abandoning, Deadlines
from llmsim.routers.random import Random
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, same, serve_both_ways
from llmsim.workload.contract import Workload


def test_the_drop_is_foreseen_at_the_same_step_in_stretches_and_single_steps():
    prompts, outputs = [1, 140, 122] + [1] * 19, [1, 40, 4] + [1] * 19
    requests = Workload(np.array([0.0] * 9 + [0.125] + [0.5] * 12), np.array(prompts), np.array(outputs), "found")
    steps = LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-06)  # one that hypothesis has found
    scheduler = ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6)
    careful = Abandoning(scheduler, Deadlines(tokens_per_s=8.0), foresee=steps)
    records = serve_both_ways(requests, careful, latency=steps, num_gpu_blocks=17, instances=3, router=Random())

    assert same(*records)
    assert records[0].requests["preemptions"].sum() > 0
