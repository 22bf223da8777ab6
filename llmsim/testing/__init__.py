"""Checks for authors of policies, and for our own: a policy that passes them can be trusted in a sweep."""

from __future__ import annotations

from llmsim.testing.builders import LinearSteps, serve, serve_both_ways, with_guesses, workload
from llmsim.testing.policies import PurityChecker, RouterPurityChecker, check_router, check_scheduler
from llmsim.testing.records import check_record, present_s, same
from llmsim.testing.sources import check_arrivals, check_latency, check_lengths

__all__ = [
    "LinearSteps",
    "PurityChecker",
    "RouterPurityChecker",
    "check_arrivals",
    "check_latency",
    "check_lengths",
    "check_record",
    "check_router",
    "check_scheduler",
    "present_s",
    "same",
    "serve",
    "serve_both_ways",
    "with_guesses",
    "workload",
]
