"""Checks of schedulers and routers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.cluster.fleet import ORACLE, Reports
from llmsim.engine.speculation.rule import Speculation
from llmsim.errors import PolicyError
from llmsim.request import Outcome, RequestView
from llmsim.router import FleetView, Router
from llmsim.scheduler import Around, Decision, InstanceView, Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing.builders import LinearSteps, accepting, drafting, drawn, serve
from llmsim.testing.made import check_made
from llmsim.testing.records import same
from llmsim.time_limit import TimeLimited, can_be_limited

#: longer than any decision about some dozens of requests takes; by the clock on the wall, and a machine may be busy
DECIDES_WITHIN_S = 10.0
LATENCY = LinearSteps(sequence_s=0.0001, context_token_s=1e-6)


@contextmanager
def found_by_checks() -> Iterator[None]:
    """Raise what a check within a policy found as it was found; the engine tells it as the policy's error."""
    try:
        yield
    except PolicyError as error:
        if isinstance(error.__cause__, AssertionError):
            raise error.__cause__ from None
        raise


class PurityChecker(Around):
    """Passes a scheduler through, and checks that it is pure: asked twice, it says the same and changes nothing."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler)
        self.decisions: list[tuple[float, Decision]] = []  #: when, and what was decided

    def schedule(self, view: InstanceView) -> Decision:
        """Ask twice."""
        before = _snapshot(view)
        _check_sums(view)
        decision = self.scheduler.schedule(view)
        assert decision == self.scheduler.schedule(view), "the same view, another decision"
        assert before == _snapshot(view), "the policy changed what it may only read"
        self.decisions.append((view.now_s, decision))
        return decision


def _check_sums(view: InstanceView) -> None:
    """What an engine counts as requests come and go is what counting anew gives."""
    decoding = [*view.decoding, *(request for request in view.running if request.id in view.held)]
    counted = len(decoding), sum(map(view.blocks_to_decode, decoding))
    assert (view.num_decoding, view.decode_blocks) == counted, "decoding requests and their blocks are counted wrong"


def _checked(scheduler: Scheduler) -> PurityChecker:
    """Watch a scheduler under its own name, which the engine's refusals tell; it is not to think for ever."""
    named: type[PurityChecker] = type(type(scheduler).__name__, (PurityChecker,), {})
    return named(TimeLimited.around(scheduler, DECIDES_WITHIN_S) if can_be_limited() else scheduler)


def _snapshot(view: InstanceView) -> list[object]:
    waiting = [(r.id, r.arrival_s, r.prompt_tokens, r.computed_tokens, r.tokens_to_prefill) for r in view.waiting]
    running = [(r.id, r.arrival_s, r.prompt_tokens, r.computed_tokens, r.emitted_tokens) for r in view.running]
    return [view.now_s, view.free_blocks, view.decode_blocks, view.num_decoding, waiting, running]


@found_by_checks()
def check_scheduler(scheduler: Scheduler, *, seed: int = 0) -> None:
    """Raise unless a scheduler keeps the contract on light, heavy, memory-bound and sudden loads.

    It serves every request, is pure, and decides the same whether it is asked at every step or only after a change.
    If it may choose drafts: with speculation and, unless it needs that, without.
    Raises AssertionError or `PolicyError`, with what is wrong; TypeError for a class in place of a scheduler.
    """
    check_made(scheduler)
    if not scheduler.needs_speculation:
        _check_served(scheduler, seed, None)
    if scheduler.chooses_drafts:
        _check_served(scheduler, seed, drafting(LATENCY))


def _check_served(scheduler: Scheduler, seed: int, speculation: Speculation | None) -> None:
    rng = np.random.default_rng(seed)
    for rate_per_s, blocks in ((2.0, 1000), (40.0, 1000), (40.0, 60), (1e6, 200)):
        requests = drawn(rng, 60, rate_per_s)
        if speculation is not None:
            requests = accepting(requests, rng, speculation.most)
        options: dict[str, Any] = {"latency": LATENCY, "num_gpu_blocks": blocks, "speculation": speculation}
        records = [serve(requests, _checked(scheduler), stretches=stretches, **options) for stretches in (True, False)]
        records.append(serve(requests, scheduler, **options))  # without a checker between
        outcome = records[0].requests["outcome"]
        allowed = (Outcome.FINISHED, Outcome.REJECTED, Outcome.ABANDONED)
        assert np.isin(outcome, allowed).all(), "a request was neither served nor rejected"
        assert same(*records[:2]), "decides otherwise when asked at every step: set asks_every_step or review_at_s"
        assert same(*records[1:]), "does not decode by itself when it is not asked: it is no `decodes_by_itself`"


class RouterPurityChecker(Router):
    """Passes a router through, and checks that it keeps no state: the same view and draws, the same instance."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def route(self, request: RequestView, fleet: FleetView) -> int:
        """Ask twice, with the same random numbers."""
        draws = fleet.rng.bit_generator.state
        before = _seen(fleet)
        chosen = self._router.route(request, fleet)
        after = fleet.rng.bit_generator.state
        fleet.rng.bit_generator.state = draws
        assert chosen == self._router.route(request, fleet), "the same view, another instance"
        assert fleet.rng.bit_generator.state == after, "the same view, another number of draws"
        assert np.array_equal(before, _seen(fleet)), "the policy changed what it may only read"
        there = isinstance(chosen, int | np.integer) and 0 <= chosen < fleet.size
        assert there, f"{chosen!r}: expected an instance from 0 to {fleet.size - 1}"
        return chosen


def _seen(fleet: FleetView) -> NDArray[np.int64]:
    rows = (fleet.outstanding, fleet.waiting, fleet.waiting_tokens, fleet.running, fleet.free_blocks)
    return np.array(rows)


@found_by_checks()
def check_router(router: Router, *, seed: int = 0) -> None:
    """Raise unless a router keeps the contract on fleets of 1, 2 and 5 instances, idle and crowded, with old news too.

    It names an instance that there is, as a whole number, keeps no state, changes nothing, and says if it `reads`.
    """
    check_made(router)
    checked: type[RouterPurityChecker] = type(type(router).__name__, (RouterPurityChecker,), {})
    rng = np.random.default_rng(seed)
    for instances, reports in ((1, ORACLE), (2, ORACLE), (5, ORACLE), (5, Reports(0.5)), (5, Reports(0.5, False))):
        for rate_per_s in (2.0, 200.0):
            requests = drawn(rng, 40, rate_per_s)
            scheduler = ChunkedPrefill(max_num_seqs=4)
            serve(requests, scheduler, instances=instances, router=checked(router), reports=reports)
    serve(drawn(rng, 40, 20.0), ChunkedPrefill(), instances=2, router=router)  # nothing else reads the instances
