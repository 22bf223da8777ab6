"""Admission of SGLang's scheduler where one request nearly fills the pool."""

from __future__ import annotations

import numpy as np

from llmsim.request import Outcome
from llmsim.schedulers.sglang import Sglang
from llmsim.testing import serve
from llmsim.workload.asked import Asked
from llmsim.workload.contract import Workload


def test_a_request_that_ignores_eos_and_nearly_fills_the_pool_is_served():
    asked = Asked(np.array([31]), np.array([True]))
    requests = Workload(np.zeros(1), np.array([97]), np.array([31]), "by hand", asked=asked)

    record = serve(requests, Sglang(), num_gpu_blocks=10)  # 160 tokens: 112 and a page of 16 leave 32, asked are 31

    assert record.requests["outcome"].tolist() == [Outcome.FINISHED]
