"""Preempting as vLLM's V1 engine does: in the midst of a step's allocation, when memory is needed (prefix_cache.py)."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from llmsim.engine.memory import CachingMemory
from llmsim.request import Request
from llmsim.scheduler import Decision


class Preemptible(Protocol):
    """What this needs of the states of requests (`request_states.RequestStates`)."""

    running: dict[int, Request]
    prefilling: dict[int, Request]

    def rests(self, id: int) -> bool:
        """Whether a running request, not held, takes no part in the next step."""

    def blocks_of_step(self, request: Request, tokens: int) -> int:
        """Blocks that a running request takes for so many tokens in the next step."""

    def preempt(self, id: int, granted: int = 0) -> int:
        """Preempt a request that has memory for `granted` further tokens already; return the blocks for these."""


def preempt_in_turn(states: Preemptible, decision: Decision, cache: CachingMemory) -> None:
    """Preempt when the memory is needed: requests take their blocks in order of admission, and so evict others'."""
    running, prefilling = states.running, states.prefilling
    victims = deque(decision.preempt)
    granted: dict[int, int] = {}  # tokens of this step, by request
    needed = 0  # blocks
    for id, request in list(running.items()):
        if id not in running or id in decision.hold or states.rests(id):
            continue
        tokens = decision.prefill.get(id, 0) if id in prefilling else int(decision.decode)
        blocks = states.blocks_of_step(request, tokens)
        while needed + blocks > cache.free_blocks and victims and id in running:
            victim = victims.popleft()
            needed -= states.preempt(victim, granted.get(victim, 0))
        if id in running:
            granted[id] = tokens
            needed += blocks
            cache.evict_ahead(min(needed, cache.free_blocks))
    for victim in victims:
        states.preempt(victim)
