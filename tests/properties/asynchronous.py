"""Engines that schedule asynchronously, for property tests: how requests end matters to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from llmsim.workload.asked import Asked

#: not at all; every request says how long it will be; none does; every third one does
ASYNC = st.sampled_from([None, None, "length", "eos", "mixed"])


def declared(requests, ends):
    """Let clients declare lengths, so that the engine knows in advance when these requests end, or does not."""
    n = len(requests)
    longer = {None: np.ones(n), "length": np.zeros(n), "eos": np.ones(n), "mixed": np.arange(n) % 3 > 0}[ends]
    max_tokens = requests.output_tokens + longer.astype(np.int64)
    return replace(requests, asked=Asked(max_tokens, np.zeros(n, dtype=np.bool_)))
