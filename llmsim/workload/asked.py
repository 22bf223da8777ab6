"""What clients declare of the output when they send a request: all that an engine knows of how long it will be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Asked:
    """Declarations of N requests. One that is shorter than its `max_tokens` ends by an end-of-sequence token."""

    max_tokens: Ints  #: (N,) the most output tokens (SGLang's max_new_tokens), at least 1
    ignore_eos: NDArray[np.bool_]  #: (N,) the output is `max_tokens` long, whatever the model says

    def check(self, output_tokens: Ints, source: str) -> None:
        """Raise InputError unless outputs are as long as asked for; `source` is what they come from, in words."""
        if not len(self.max_tokens) == len(self.ignore_eos) == len(output_tokens):
            raise InputError(f"{source}: {len(output_tokens)} requests, and max_tokens for {len(self.max_tokens)}")
        wrong = (output_tokens > self.max_tokens) | (self.ignore_eos & (output_tokens < self.max_tokens))
        if wrong.any():
            at = int(np.argmax(wrong))
            bound = "exactly" if self.ignore_eos[at] else "at most"
            raise InputError(
                f"{source}: request {at} has output_tokens = {output_tokens[at]}, "
                f"expected {bound} its max_tokens of {self.max_tokens[at]}"
            )

    def take(self, index: Ints) -> Asked:
        """Select requests by number."""
        return Asked(self.max_tokens[index], self.ignore_eos[index])


def exactly(output_tokens: Ints) -> Asked:
    """Each request asks for exactly as many tokens as it gets, as benchmark tools do: `ignore_eos`."""
    return Asked(output_tokens, np.ones(len(output_tokens), dtype=np.bool_))


def at_most(max_tokens: int, output_tokens: Ints) -> Asked:
    """Each request asks for at most so many tokens, and ends by an end-of-sequence token where it gets fewer."""
    requests = len(output_tokens)
    return Asked(np.full(requests, max_tokens, dtype=np.int64), np.zeros(requests, dtype=np.bool_))
