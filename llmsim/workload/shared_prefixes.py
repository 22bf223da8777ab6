"""Shared prefixes in front of drawn questions: a system prompt, then what is known of the user, then the question."""

from __future__ import annotations

import numpy as np

from llmsim.workload.contract import Workload
from llmsim.workload.prefixes import Prefixes


def with_shared_prefixes(
    rng: np.random.Generator,
    questions: Workload,
    *,
    system_prompts: int,
    system_tokens: int,
    users: int,
    user_tokens: int,
    order: str,
) -> Workload:
    """Put one of `system_prompts` texts of `system_tokens` before each question, and one of that text's `users`.

    Every user's own text has `user_tokens`, every question is new. `order` "random": each request is of any user, all
    equally likely; "cycle": users take turns, in one order drawn for the run (as inference-perf's shared_prefix does).
    """
    n, all_users = len(questions), system_prompts * users
    user = np.resize(rng.permutation(all_users), n) if order == "cycle" else rng.integers(all_users, size=n)
    parts = 2 if user_tokens else 1
    ids = np.stack([user // users, system_prompts + user])[:parts]
    ends = np.array([system_tokens, system_tokens + user_tokens])[:parts]
    prefixes = Prefixes(ids.T.reshape(-1), np.tile(ends, n), np.arange(n + 1) * parts)
    prompt_tokens = questions.prompt_tokens + system_tokens + user_tokens
    return Workload(
        questions.arrival_s, prompt_tokens, questions.output_tokens, questions.source, prefixes=prefixes, user=user
    )
