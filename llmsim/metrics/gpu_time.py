"""What the GPUs worked for: each step's time, shared among the tokens that it computed.

The rule: a step that computes n tokens (of prompts, and for each decoding sequence one and those drafted for it) spends
1/n of its time on each. All shares add up to the time in which GPUs were busy. It is an average, not a margin: leaving
one token out would shorten a step by less than its share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmsim.metrics.single_steps import SingleSteps
from llmsim.record import Floats, Record
from llmsim.request import Outcome


def busy_gpu_s(record: Record, gpus: Sequence[int]) -> float:
    """Time in steps, summed over instances with so many GPUs each, seconds."""
    return sum(each * float(SingleSteps.of(record, number).lasts_s().sum()) for number, each in enumerate(gpus))


def spent_gpu_s(record: Record, gpus: Sequence[int]) -> Floats:
    """Time spent on each request, (N,) seconds: on its prefills and its decode steps."""
    before = _through(record, gpus)
    offsets = np.cumsum([0, *(len(ends) for ends in record.step_ends_s)])
    segments, prefill_gpu_s = record.segments, record.requests["prefill_gpu_s"]
    start = segments["first_step"] + offsets[segments["instance"]]
    decode_gpu_s = before[start + segments["steps"]] - before[start]
    return prefill_gpu_s + np.bincount(segments["request"], decode_gpu_s, len(prefill_gpu_s))


def wasted_gpu_s(record: Record, gpus: Sequence[int]) -> float:
    """Time spent on requests that did not finish, and on tokens computed again after a preemption, seconds."""
    requests = record.requests
    served = requests["outcome"] == Outcome.FINISHED
    return float(np.where(served, requests["recomputed_gpu_s"], spent_gpu_s(record, gpus)).sum())


def _through(record: Record, gpus: Sequence[int]) -> Floats:
    """Running sum of a decoding sequence's share of the decode steps, instance after instance: (steps + 1,) seconds."""
    steps = record.steps
    shares = [np.zeros(1)]
    for instance, ends_s in enumerate(record.step_ends_s):
        rows = np.flatnonzero((steps["instance"] == instance) & (steps["decoding"] > 0))
        row = np.repeat(rows, steps["steps"][rows])
        lengths_s = np.diff(ends_s, prepend=0.0)
        first = np.flatnonzero(np.diff(row, prepend=-1))
        lengths_s[first] = ends_s[first] - steps["start_s"][row[first]]
        each = 1 + steps["drafted_tokens"][row] / steps["decoding"][row] if "drafted_tokens" in steps else 1
        shares.append(
            gpus[instance] * lengths_s * each / (steps["decoding"][row] * each + steps["prefill_tokens"][row])
        )
    return np.cumsum(np.concatenate(shares))
