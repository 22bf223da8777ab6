"""One instance in place of the ranks of attention data parallelism: with the seats and the token budgets of all.

In vLLM each rank is an engine of its own, with `max_num_seqs` and `max_num_batched_tokens` of its own. Here one
instance has those of all ranks together, which are as if evenly loaded; no prompt gets more of a step than the budget
of a rank, unless it is alone.
"""

from __future__ import annotations

import dataclasses

from llmsim.errors import InputError
from llmsim.scheduler import Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill


def check_ranks(ranks: int, scheduler: Scheduler, *, prefix_caching: bool) -> None:
    """InputError for what one instance cannot stand for where there are several ranks."""
    if ranks == 1:
        return
    if not isinstance(scheduler, ChunkedPrefill):
        raise InputError(
            f"data_parallel_size = {ranks}: {type(scheduler).__name__} is not shared out to ranks; expected "
            "chunked_prefill, or one made of it"
        )
    if prefix_caching:
        raise InputError(
            f"data_parallel_size = {ranks}: each rank has a prefix cache of its own, which is not modelled; expected "
            "prefix_caching = false"
        )


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
