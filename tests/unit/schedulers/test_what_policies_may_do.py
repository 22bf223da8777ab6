"""What authors of schedulers and latency models may not do is refused, or found by the checks for authors."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pytest

from llmsim.errors import PolicyError
from llmsim.scheduler import DECODE, Decision, decodes_by_itself
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import LinearSteps, check_scheduler, same, serve, serve_both_ways, workload

REQUESTS = workload((0.0, 20, 40), (0.3, 30, 30), (2.0, 10, 60))


class Flat(LinearSteps):
    """Says that steps get no longer as contexts grow, which they do."""

    def decode_line(self, decoding, context_tokens):
        first_s, _, steps = super().decode_line(decoding, context_tokens)
        return first_s, 0.0, steps


class Empty(LinearSteps):
    def decode_line(self, decoding, context_tokens):
        return 0.01, 0.0, 0


class Busy(ChunkedPrefill):
    def why_never(self, request, limits):
        return "busy" if limits.num_running >= 4 else None


class Wrong(ChunkedPrefill):
    """Is marked, and drops whoever runs alone, if his number is even."""

    @decodes_by_itself
    def schedule(self, view) -> Decision:
        decision = super().schedule(view)
        alone = [r.id for r in view.running if r.id % 2 == 0] if view.num_running == 1 else []
        return decision._replace(abandon=frozenset(alone)) if decision == DECODE else decision


class Wrapped(ChunkedPrefill):
    """Copies all that is written on the method that it wraps, the mark included."""

    @functools.wraps(ChunkedPrefill.schedule)
    def schedule(self, view) -> Decision:
        decision = super().schedule(view)
        late = frozenset(r.id for r in view.running if r.emitted_tokens >= 10)
        if decision.prefill:
            return decision
        return decision._replace(abandon=late, review_at_s=view.now_s)


def test_a_line_that_is_not_its_steps_is_found_step_by_step():
    latency = Flat(context_token_s=1e-4)
    serve(REQUESTS, ChunkedPrefill(), latency=latency)
    with pytest.raises(PolicyError, match=r"Flat: decode_line gives .* step_time_s gives"):
        serve(REQUESTS, ChunkedPrefill(), latency=latency, stretches=False)


def test_a_line_has_a_step_at_least():
    with pytest.raises(PolicyError, match=r"Empty at t=.* s has a line of 0 decode steps of .*; expected at least 1"):
        serve(REQUESTS, ChunkedPrefill(), latency=Empty())


def test_which_requests_can_never_be_served_depends_on_limits_alone():
    with pytest.raises(PolicyError, match="why_never reads num_running of an instance, expected one of its limits"):
        serve(REQUESTS, Busy())


def test_a_wrong_mark_is_found():
    assert not same(*serve_both_ways(REQUESTS, Wrong()))
    with pytest.raises(AssertionError, match="does not decode by itself"):
        check_scheduler(Wrong())


def test_a_wrapper_of_a_marked_method_is_asked():
    wrapped = serve_both_ways(REQUESTS, Wrapped())

    assert same(*wrapped)
    assert (wrapped[0].requests["emitted_tokens"] < 40).all()


@dataclass(frozen=True)
class Helped(ChunkedPrefill):
    """Overrides a helper of the marked method alone."""

    def _grant(self, view):
        return lambda request, wanted, left: min(wanted, left - view.num_decoding, 7)


def test_a_subclass_that_overrides_a_helper_needs_no_mark():
    assert same(*serve_both_ways(REQUESTS, Helped()))
