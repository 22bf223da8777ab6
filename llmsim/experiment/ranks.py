"""One instance in place of several ranks, or of several batches under way: with the token budgets of all.

Ranks of attention data parallelism are in vLLM engines of their own, with `max_num_seqs` and `max_num_batched_tokens`
of their own. Here one instance has those of all ranks together, which are as if evenly loaded; no prompt gets more of a
step than the budget of a rank, unless it is alone. Of a pipeline one scheduler fills all batches under way: seats are
those of all, and the budget is each batch's.
"""

from __future__ import annotations

import dataclasses

from llmsim.errors import InputError
from llmsim.scheduler import Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill


def check_ranks(ranks: int, stages: int, scheduler: Scheduler, *, prefix_caching: bool, speculates: bool) -> None:
    """InputError for what one instance cannot stand for where there are several ranks, or stages of a pipeline."""
    several = {"data_parallel_size": ranks, "pipeline_parallel_size": stages}
    said = [f"{name} = {size}" for name, size in several.items() if size > 1]
    if not said:
        return
    if len(said) > 1:
        raise InputError(f"{' and '.join(said)} together are not modelled; expected one of them")
    if not isinstance(scheduler, ChunkedPrefill):
        raise InputError(
            f"{said[0]}: {type(scheduler).__name__} is not shared out; expected chunked_prefill, or one made of it"
        )
    if stages > 1 and speculates:
        raise InputError(f"{said[0]}: vLLM does not speculate in a pipeline; expected no [speculation]")
    if ranks > 1 and prefix_caching:
        raise InputError(
            f"data_parallel_size = {ranks}: each rank has a prefix cache of its own, which is not modelled; expected "
            "prefix_caching = false"
        )


def of_all_batches(scheduler: Scheduler, stages: int) -> Scheduler:
    """Return a scheduler with the budgets of all batches under way."""
    if stages == 1:
        return scheduler
    assert isinstance(scheduler, ChunkedPrefill)
    return dataclasses.replace(scheduler, max_num_batched_tokens=stages * scheduler.max_num_batched_tokens)


def of_all_ranks(scheduler: Scheduler, ranks: int) -> Scheduler:
    """Return a scheduler with the seats and the budget of all ranks."""
    if ranks == 1:
        return scheduler
    assert isinstance(scheduler, ChunkedPrefill)
    budget = scheduler.max_num_batched_tokens
    return dataclasses.replace(
        scheduler,
        max_num_batched_tokens=ranks * budget,
        max_num_seqs=ranks * scheduler.max_num_seqs,
        long_prefill_token_threshold=min(scheduler.long_prefill_token_threshold or budget, budget),
    )
