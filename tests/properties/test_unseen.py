"""An instance that nobody looks at between arrivals does what one does that makes events of everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.cluster import InstanceSpec, build_cluster
from llmsim.cluster.clients import ApiPath
from llmsim.errors import PolicyError
from llmsim.router import Router
from llmsim.routers.round_robin import RoundRobin
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.testing import LinearSteps, check_router, same, serve, workload
from llmsim.workload.contract import Workload
from tests.properties.asynchronous import ASYNC, declared


@dataclass(frozen=True)
class Looking(RoundRobin):
    """Says that it reads reports, so that instances must be up to date."""

    reads: ClassVar[tuple[str, ...]] = ("reports",)


@dataclass(frozen=True)
class Secretive(Router):
    """Reads what it does not say it reads."""

    what: str = "outstanding"
    reads: ClassVar[tuple[str, ...]] = ()

    def route(self, request, fleet):
        return int(fleet.cached_tokens(0, request) if self.what == "cached" else getattr(fleet, self.what)[0]) * 0


@settings(max_examples=150, deadline=None)
@given(
    gaps=st.lists(st.sampled_from([0.0, 0.125, 0.0173, 1.5]), min_size=1, max_size=60),
    scheduler=st.sampled_from([ChunkedPrefill(max_num_batched_tokens=64, max_num_seqs=6), ChunkedPrefill(), Fcfs()]),
    latency=st.sampled_from([LinearSteps(0.125, 0.0), LinearSteps(0.0101, 0.00013, 0.00037, 1.7e-6)]),
    blocks=st.integers(6, 40),  # some requests need more, and are rejected
    instances=st.integers(1, 3),
    until_s=st.sampled_from([None, 0.0, 1.0, 3.3]),
    api=st.sampled_from([ApiPath(), ApiPath(request_s=0.05, prompt_token_s=0.001), ApiPath(output_token_s=0.002)]),
    caching=st.booleans(),
    inbox=st.sampled_from([1, 2, 7, 64]),
    seed=st.integers(0, 9),
    ends=ASYNC,
)
def test_records_are_equal_to_the_row(
    gaps, scheduler, latency, blocks, instances, until_s, api, caching, inbox, seed, ends
):
    rng, n = np.random.default_rng(seed), len(gaps)
    requests = Workload(np.cumsum([0.0, *gaps[1:]]), rng.integers(1, 150, n), rng.integers(1, 70, n), "drawn")
    requests = declared(requests, ends)
    if until_s == 0.0:
        until_s = float(requests.arrival_s[-1]) or None  # when the last one would arrive
    options = {"latency": latency, "num_gpu_blocks": blocks, "instances": instances, "until_s": until_s, "api": api}
    options["async_scheduling"] = ends is not None
    with mock.patch("llmsim.engine.instance.INBOX_SIZE", inbox):
        unseen = serve(requests, scheduler, router=RoundRobin(), prefix_caching=caching, **options)
        seen = serve(requests, scheduler, router=Looking(), prefix_caching=caching, **options)

    assert same(unseen, seen)
    for name, column in seen.steps.items():
        np.testing.assert_array_equal(unseen.steps[name], column, name)
    assert unseen.reasons == seen.reasons


@pytest.mark.parametrize("what", ["outstanding", "waiting", "waiting_tokens", "running", "free_blocks", "cached"])
def test_a_router_that_looks_must_say_so(what):
    with pytest.raises(PolicyError, match="a router whose `reads` is empty reads the state of instances"):
        serve(workload((0.0, 10, 10), (0.1, 10, 10)), ChunkedPrefill(), router=Secretive(what), instances=2)


def test_the_check_for_authors_finds_a_router_that_looks_and_does_not_say_so():
    check_router(Looking())
    with pytest.raises(PolicyError, match="say so in `reads`"):
        check_router(Secretive())


def test_what_it_is_sent_does_not_pile_up():
    """10,000 requests: a few are kept, and of what they did a few are not yet written down."""
    kept, unwritten = [], []

    class Watching(RoundRobin):
        def route(self, request, fleet):
            kept.append(len(fleet.instances[0]._inbox))
            unwritten.append(fleet.instances[0].journal.unwritten)
            return super().route(request, fleet)

    record = serve(workload(*((0.05 * k, 10, 3) for k in range(10_000))), ChunkedPrefill(), router=Watching())

    assert (record.requests["queued_s"] == record.requests["arrival_s"]).all()
    assert max(kept) == 63
    assert max(unwritten) == 0


def test_progress_is_told_while_an_instance_catches_up():
    told = []
    requests = workload(*((0.0, 10, 3) for _ in range(2000)))
    spec = InstanceSpec(ChunkedPrefill(max_num_seqs=2, max_num_batched_tokens=16), LinearSteps(), 100, 1000)

    def on_progress(ended):
        told.append(ended)

    with (
        mock.patch("llmsim.engine.instance.INBOX_SIZE", 10_000),
        mock.patch("llmsim.engine.journal.BUFFERED_STRETCHES", 100),
    ):
        cluster = build_cluster(requests, [spec], RoundRobin(), np.random.default_rng(0), on_progress=on_progress)
        written = mock.Mock(wraps=cluster.recorder.stretches)
        cluster.recorder.stretches = written
        cluster.run()

    assert told == list(range(256, 2001, 256))
    assert written.call_count > 10
