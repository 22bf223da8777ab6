"""AdaServe: how a budget is shared out, by hand and against every way to share it; which requests profit."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.request import Request
from llmsim.scenario import load_scenario
from llmsim.schedulers.adaserve import AdaServe, needed_tokens, sizes
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.slo import Slo
from llmsim.testing import LinearSteps, serve, workload
from llmsim.testing.builders import drafting
from llmsim.workload.acceptance import Acceptance
from llmsim.workload.classes import Classes

#: each draft is accepted with 0.7, given those before it; hundredths (NEXT_SYSTEMS.md, 2)
CHAIN = (100, 170, 219, 253.3, 277.31, 294.12, 305.88, 314.12)


def test_the_example_by_hand():
    needed = (2.5, 1.8, 0.9, 0.4)
    assert sizes(needed, [CHAIN] * 4, 9) == [4, 3, 1, 1]
    assert sizes(needed, [CHAIN] * 4, 12) == [4, 3, 3, 2]


def test_trees_of_the_papers_example():
    """Nodes of two trees, by the probability of their paths: with a budget of 8, 2.414 and 2.25 tokens are expected."""
    trees = [np.cumsum([100, 70, 42, 29.4]).tolist(), np.cumsum([100, 50, 40, 35]).tolist()]
    found = sizes((1.6, 1.8), trees, 8)
    assert [tree[n - 1] for tree, n in zip(trees, found, strict=True)] == pytest.approx([241.4, 225])
    assert sizes((1.6, 1.8), trees, 5) == [2, 3]


def test_what_a_request_needs_of_a_step():
    request = Request(0, 0.0, 10)
    request.slo, request.first_token_s, request.emitted_before = Slo(tpot_s=0.05), 2.0, 18
    assert needed_tokens(request, 2.0 + 0.9 + 0.04) == pytest.approx(1.8)
    request.slo = Slo(ttft_s=1.0)
    assert needed_tokens(request, 3.0) == -np.inf


def test_no_way_to_share_a_budget_that_gives_all_what_they_need_yields_more():
    rng = np.random.default_rng(0)
    feasible = 0
    for _ in range(60):
        n, budget = int(rng.integers(1, 4)), int(rng.integers(3, 12))
        rates = -np.sort(-rng.integers(1, 100, (n, 4)))  # never ascending: curves are concave
        gains = [[100, *row] for row in (100 + np.cumsum(rates, axis=1)).tolist()]
        needed = (rng.random(n) * 4).tolist()
        ways = [way for way in product(range(1, 6), repeat=n) if sum(way) <= max(budget, n)]

        def yields(way, gains=gains):
            return [own[size - 1] for own, size in zip(gains, way, strict=True)]

        good = [way for way in ways if all(y >= 100 * a for y, a in zip(yields(way), needed, strict=True))]
        found = sizes(needed, gains, budget)
        assert sum(found) <= max(budget, n)
        if good:
            feasible += 1
            assert tuple(found) in good
            assert sum(yields(found)) == max(sum(yields(way)) for way in good)
    assert feasible > 15


def two_classes(n=20, slo_s=0.011):
    """Requests at once, every second of which declares a tight bound on its time per token."""
    requests = workload(*[(0.0, 16, 60)] * n)
    classes = Classes(np.arange(n) % 2, ("tight", "loose"), (0, 0), slos=(Slo(tpot_s=slo_s), Slo(tpot_s=1.0)))
    lengths = (tuple(round(each) for each in CHAIN[:5]),)
    return replace(requests, classes=classes, acceptance=Acceptance(lengths, np.zeros(n, int), np.zeros(n, int)))


def test_requests_with_tight_bounds_draft_more_and_keep_them_where_one_number_for_all_keeps_none():
    latency = LinearSteps(0.008, 1e-5, 0.0003, 0.0)
    record = serve(two_classes(), AdaServe(verify_tokens=60), latency=latency, speculation=drafting(latency))
    fixed = serve(two_classes(), ChunkedPrefill(), latency=latency, speculation=drafting(latency))

    def tpot_s(record):
        first_s, end_s = record.requests["first_token_s"], record.requests["end_s"]
        return ((end_s - first_s) / 59)[::2], ((end_s - first_s) / 59)[1::2]

    tight_s, loose_s = tpot_s(record)
    assert tight_s.max() <= 0.011 + 0.026 / 59 < tpot_s(fixed)[0].min()  # the last step may end late
    assert loose_s.mean() > 1.05 * tight_s.mean()
    steps = record.steps
    assert (steps["drafted_tokens"] + steps["decoding"]).max() <= 60


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["speculation=null"], "adaserve decides how many tokens each request drafts; expected [speculation]"),
        (["speculation.num_speculative_tokens=0"], "adaserve decides how many tokens each request drafts; expected"),
        (["speculation.adapt=goodput"], "AdaServe decides itself how many tokens each request drafts; leave adapt out"),
        (
            ["speculation.num_speculative_tokens_per_batch_size=[[1, 8, 3], [9, 64, 1]]"],
            "leave num_speculative_tokens_per_batch_size out",
        ),
        (["speculation.acceptance_kind=random"], "leave acceptance_kind = 'random' out"),
        (["scheduler.async_scheduling=true"], "AdaServe goes with scheduler.async_scheduling = false"),
        (["scheduler.verify_tokens=0"], "verify_tokens is 0, expected more than 0"),
        (["scheduler.min_drafts=0"], "min_drafts is 0, expected more than 0"),
        (["scheduler.max_num_seqs=512"], "512 requests that draft 3 tokens each compute 2048 in a step, more"),
    ],
)
def test_what_it_does_not_go_with_is_told_in_a_line(changes, says):
    with pytest.raises(InputError) as error:
        experiment.check(load_scenario("speculation", ["scheduler={name = 'adaserve'}", *changes]))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_it_runs_as_a_scenario_says():
    changes = ["scheduler={name = 'adaserve', verify_tokens = 24}", "workload.requests=60"]
    result = experiment.run(load_scenario("speculation", changes))
    steps = result.record.steps
    each = steps["drafted_tokens"][steps["decoding"] > 0] / steps["decoding"][steps["decoding"] > 0]
    assert len(set(each.tolist())) > 3
    assert (steps["drafted_tokens"] + steps["decoding"]).max() <= max(24, steps["decoding"].max())
