"""Admission of SGLang's scheduler where one request nearly fills the pool."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from llmsim.engine.view import Limits
from llmsim.request import Outcome
from llmsim.schedulers._prefill_adder import asked_tokens
from llmsim.schedulers.sglang import Sglang
from llmsim.testing import serve
from llmsim.workload.asked import Asked
from llmsim.workload.contract import Workload


def test_a_request_that_ignores_eos_and_nearly_fills_the_pool_is_served():
    asked = Asked(np.array([31]), np.array([True]))
    requests = Workload(np.zeros(1), np.array([97]), np.array([31]), "by hand", asked=asked)

    record = serve(requests, Sglang(), num_gpu_blocks=10)  # 160 tokens: 112 and a page of 16 leave 32, asked are 31

    assert record.requests["outcome"].tolist() == [Outcome.FINISHED]


@pytest.mark.parametrize("page", [1, 16])
@pytest.mark.parametrize("tree", [False, True])
def test_whatever_is_asked_for_with_ignore_eos_is_served_or_rejected(page, tree):
    """On an empty pool of 320 tokens, as far as a request may ask: none waits for ever for room that cannot be."""
    for prompt in (1, 15, 16, 17, 200, 285, 286, 287, 300, 315, 316, 317, 318):
        outputs = 320 - prompt
        asked = Asked(np.array([outputs]), np.array([True]))
        requests = Workload(np.zeros(1), np.array([prompt]), np.array([outputs]), "by hand", asked=asked)
        record = serve(
            requests, Sglang(), num_gpu_blocks=320 // page, block_tokens=page, max_model_len=1000, prefix_caching=tree
        )
        assert record.requests["outcome"].tolist() in ([Outcome.FINISHED], [Outcome.REJECTED]), (prompt, page, tree)


def test_with_a_tree_ignoring_eos_does_not_shorten_what_a_request_may_ask_for():
    """SGLang clips max_new_tokens to the pool less one, the prompt and one; only without a tree does it test more."""
    request = SimpleNamespace(prompt_tokens=50, max_tokens=1000, ignore_eos=True)
    found = [asked_tokens(request, Limits(1, 1000, 100, caches_prefixes=tree)) for tree in (True, False)]
    assert found == [100 - 1 - 50 - 1, 100 - 1 - 50 - 2]
