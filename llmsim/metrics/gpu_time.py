"""What the GPUs worked for: each step's time, shared among the tokens that it computed.

The rule: a step that computes n tokens (of prompts, and for each decoding sequence one and those drafted for it) spends
1/n of its time on each. All shares add up to the time in which GPUs were busy. It is an average, not a margin: leaving
one token out would shorten a step by less than its share.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmsim.metrics.single_steps import SingleSteps, busy_s
from llmsim.record import Floats, Ints, Record
from llmsim.request import Outcome


def busy_gpu_s(record: Record, gpus: Sequence[int]) -> float:
    """Time in steps, summed over instances with so many GPUs each, seconds."""
    return sum(each * busy_s(record, number) for number, each in enumerate(gpus))


def spent_gpu_s(record: Record, gpus: Sequence[int]) -> Floats:
    """Time spent on each request, (N,) seconds: on its prefills and its decode steps."""
    offsets = np.cumsum([0, *(len(ends) for ends in record.step_ends_s)])
    segments, prefill_gpu_s = record.segments, record.requests["prefill_gpu_s"]
    start = segments["first_step"] + offsets[segments["instance"]]
    before, after = _through(record, gpus, np.stack([start, start + segments["steps"]]))
    return prefill_gpu_s + np.bincount(segments["request"], after - before, len(prefill_gpu_s))


def wasted_gpu_s(record: Record, gpus: Sequence[int]) -> float:
    """Time spent on requests that did not finish, and on tokens computed again after a preemption, seconds."""
    requests = record.requests
    served = requests["outcome"] == Outcome.FINISHED
    return float(np.where(served, requests["recomputed_gpu_s"], spent_gpu_s(record, gpus)).sum())


def _through(record: Record, gpus: Sequence[int], places: Ints) -> Floats:
    """A decoding sequence's share of the first so many decode steps, instance after instance, for each of `places`."""
    wanted, back = np.unique(places, return_inverse=True)
    found, done, through_s = np.zeros(len(wanted)), 0, np.zeros(1)
    for instance in range(len(record.step_ends_s)):
        for steps in SingleSteps.blocks(record, instance):
            # one sum through all blocks, as if they were one
            through_s = np.cumsum(np.concatenate([through_s[-1:], gpus[instance] * _shares_s(steps)]))
            lo, hi = np.searchsorted(wanted, done), np.searchsorted(wanted, done + len(through_s) - 1, side="right")
            found[lo:hi] = through_s[wanted[lo:hi] - done]
            done += len(through_s) - 1
    return found[back.reshape(places.shape)]


def _shares_s(steps: SingleSteps) -> Floats:
    """What is left for each decoding sequence of the steps in which some decode, seconds."""
    decodes = np.flatnonzero(steps.decoding)
    decoding, lasts_s = steps.decoding[decodes], steps.lasts_s()[decodes]
    each = 1 if steps.drafted_tokens is None else 1 + steps.drafted_tokens[decodes] / decoding
    return np.asarray(lasts_s * each / (decoding * each + steps.prefill_tokens[decodes]))
