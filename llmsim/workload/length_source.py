"""The contract of a length source: how many tokens requests have in their prompts and outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from llmsim.workload.arguments import whole
from llmsim.workload.quantile_table import load_table

Tokens = NDArray[np.int64]
#: (prompt_tokens, output_tokens)
Lengths = tuple[Tokens, Tokens]


class LengthSource(ABC):
    """What `workload.lengths` of a scenario names: a frozen dataclass whose fields are its options.

    One file with one such class is all that a new source takes: in llmsim/workload/lengths/, or as an entry point of
    the group ``llmsim.workload.lengths``.
    """

    @classmethod
    def examples(cls) -> Sequence[Self]:
        """Return some to test; override it where options have no defaults."""
        return (cls(),)

    @abstractmethod
    def tokens(self, rng: np.random.Generator, requests: int) -> Lengths:
        """Draw (prompt_tokens, output_tokens): whole numbers, at least 1, each of shape (requests,), from `rng` alone.

        More requests from the same stream begin with the same ones. Raises InputError for options that cannot be.
        """


class RealLengths(LengthSource):
    """Lengths of real traffic, from the shipped quantiles of `table`; long prompts keep their kind of output."""

    table: ClassVar[str]  #: name of the file in quantiles/

    def tokens(self, rng: np.random.Generator, requests: int) -> Lengths:
        """Draw pairs; InputError if there is no such table."""
        return load_table(self.table).draw(rng, whole("requests", requests))
