"""What a router sees is counted as instances change: equal to counting all anew, at a cost that does not grow."""

from __future__ import annotations

from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import pytest

from llmsim.cluster.fleet import FREE_BLOCKS, OUTSTANDING, RUNNING, WAITING, WAITING_TOKENS, Fleet
from llmsim.engine.exchange import Disaggregation, Link
from llmsim.engine.instance import Instance
from llmsim.router import Router
from llmsim.routers.prefix_aware import PrefixAware
from llmsim.routers.shortest_expected_delay import ShortestExpectedDelay
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.testing import serve
from llmsim.workload.contract import Workload
from llmsim.workload.prefixes import Prefixes

SIGHT = {"outstanding": OUTSTANDING, "waiting": WAITING, "waiting_tokens": WAITING_TOKENS, "running": RUNNING}
SIGHT |= {"free_blocks": FREE_BLOCKS}
SMALL = ChunkedPrefill(max_num_seqs=4, max_num_batched_tokens=64)


class CountsAnew(Router):
    """Sends requests anywhere, and looks at everything before."""

    reads: ClassVar[tuple[str, ...]] = ("reports", "caches")

    def __init__(self) -> None:
        self.found = 0

    def route(self, request: Any, fleet: Any) -> int:
        loads = np.array([fleet.load(number) for number in range(fleet.size)])
        for name, row in SIGHT.items():
            assert getattr(fleet, name).tolist() == loads[:, row].tolist(), name
        cached = fleet.cached(request).tolist()
        assert cached == [fleet.cached_tokens(number, request) for number in range(fleet.size)]
        self.found += sum(cached)
        return int(fleet.rng.integers(fleet.size))


def conversations(requests: int, rate_per_s: float, roots: int = 3) -> Workload:
    """Turns of `roots` conversations at random: each repeats what was said before, and makes more of it known."""
    rng = np.random.default_rng(5)
    parts: list[list[int]] = [[] for _ in range(roots)]
    ends: list[list[int]] = [[] for _ in range(roots)]
    ids_of_all: list[int] = []
    ends_of_all: list[int] = []
    start, prompt_tokens = [0], []
    for number in range(requests):
        root = int(rng.integers(roots))
        prompt_tokens.append((ends[root][-1] if ends[root] else 0) + int(rng.integers(1, 20)))
        parts[root].append(number)
        ends[root].append(prompt_tokens[-1] + int(rng.integers(1, 30)))
        ids_of_all += parts[root]
        ends_of_all += ends[root]
        start.append(len(ids_of_all))
    prefixes = Prefixes(np.array(ids_of_all), np.array(ends_of_all), np.array(start))
    arrival_s = np.cumsum(rng.exponential(1 / rate_per_s, requests))
    return Workload(arrival_s, np.array(prompt_tokens), rng.integers(1, 40, requests), "turns", prefixes)


@pytest.mark.parametrize(("roots", "blocks"), [(3, 60), (40, 30), (40, 1000)])  # many: first blocks fill while decoding
@pytest.mark.parametrize(
    "options",
    [
        {"instances": 3},
        {"instances": 3, "max_in_flight": 7},  # routers are asked while an instance acts
        {"instances": 3, "stretches": False},
        {"instances": 3, "async_scheduling": True, "max_in_flight": 7},
    ],
    ids=str,
)
def test_a_router_sees_what_is_there(roots: int, blocks: int, options: dict[str, Any]) -> None:
    router = CountsAnew()
    serve(conversations(100, 100.0, roots), SMALL, router=router, num_gpu_blocks=blocks, prefix_caching=True, **options)

    assert router.found > 0


def test_first_blocks_that_fill_while_a_request_decodes_are_found() -> None:
    texts = 8  # three requests each: the second one finds nothing yet, the third one what the first one has filled
    prefixes = Prefixes(np.tile(np.arange(texts), 3), np.full(3 * texts, 70), np.arange(3 * texts + 1))
    arrival_s = np.repeat([0.0, 0.03, 0.5], texts)
    requests = Workload(arrival_s, np.repeat([8, 60, 60], texts), np.full(3 * texts, 60), "texts", prefixes)
    router = CountsAnew()
    serve(requests, ChunkedPrefill(), router=router, instances=8, prefix_caching=True)

    assert router.found > 0


def test_routers_of_both_sides_see_what_is_there() -> None:
    router, decode = CountsAnew(), CountsAnew()
    rules = Disaggregation(Link(1e6, 0.01), 100, decode)
    roles = ("prefill", "prefill", "decode", "decode")
    options = {"roles": roles, "disaggregation": rules, "prefix_caching": True, "num_gpu_blocks": 60}
    serve(conversations(60, 60.0), SMALL, router=router, **options)

    assert router.found > 0


def looks(router: Router, instances: int, method: str, owner: type) -> float:
    """How often something is asked of an instance, for each request, at the same load of each instance."""
    with patch.object(owner, method, autospec=True, side_effect=getattr(owner, method)) as counted:
        requests = conversations(10 * instances, 20.0 * instances, roots=4 * instances)
        serve(requests, SMALL, router=router, instances=instances, prefix_caching=True)
    return counted.call_count / len(requests)


def test_a_decision_looks_at_as_many_instances_however_many_there_are() -> None:
    found = [looks(PrefixAware(), n, "cached_tokens", Instance) for n in (4, 32)]
    changed = [looks(ShortestExpectedDelay(), n, "_has_changed", Fleet) for n in (4, 32)]

    assert 0 < found[1] < 1.5 * found[0]
    assert 0 < changed[1] < 1.6 * changed[0]
