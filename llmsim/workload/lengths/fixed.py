"""The same lengths for every request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsim.quantities import Count
from llmsim.workload.arguments import whole
from llmsim.workload.length_source import Lengths, LengthSource


@dataclass(frozen=True)
class Fixed(LengthSource):
    """Nothing is drawn."""

    prompt_tokens: Count  #: length of every prompt
    output_tokens: Count  #: length of every output

    @classmethod
    def examples(cls) -> Sequence[Fixed]:
        """A prompt and its answer."""
        return (cls(prompt_tokens=100, output_tokens=10),)

    def tokens(self, rng: np.random.Generator, requests: int) -> Lengths:
        """Repeat them."""
        n = whole("requests", requests)
        return (
            np.full(n, whole("prompt_tokens", self.prompt_tokens), np.int64),
            np.full(n, whole("output_tokens", self.output_tokens), np.int64),
        )
