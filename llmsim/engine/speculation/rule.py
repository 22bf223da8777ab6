"""How many tokens the requests of an instance draft, and what that costs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from llmsim.latency.contract import LatencyModel


@dataclass(frozen=True)
class Speculation:
    """How the requests of an instance speculate: so many drafted tokens of each, by the number that decode."""

    #: (largest number of sequences, tokens that each drafts in a step), ascending; the last one holds for more, too
    by_batch: tuple[tuple[int, int], ...]
    lookahead: int  #: tokens beyond the drafted ones that each has memory for, as vLLM has for drafters with a KV cache
    latency: Mapping[int, LatencyModel]  #: step times by drafted tokens

    def drafts(self, sequences: int, context_tokens: float) -> int:
        """Tokens that each of so many sequences, with these contexts in all, drafts in a step."""
        if len(self.by_batch) == 1:
            return self.by_batch[0][1]
        at = bisect_left(self.by_batch, sequences, key=lambda row: row[0])
        return self.by_batch[min(at, len(self.by_batch) - 1)][1]

    @property
    def changes(self) -> bool:
        """Whether the number of drafted tokens changes in a run."""
        return len(self.by_batch) > 1

    def reach(self, lag: int) -> int:
        """Tokens, beyond those in memory, that each sequence has memory for in a step: for the most it may draft.

        With `lag` = 1 for those of the step before as well, of which it is not known what is accepted.
        """
        return (1 + lag) * (1 + max(drafts for _, drafts in self.by_batch)) + self.lookahead


@dataclass(frozen=True)
class MostGoodput(Speculation):
    """As many drafted tokens as yield most in the time of a step, by the mean of what is accepted (SmartSpec).

    Liu et al., arXiv 2406.14066: accepted tokens of all sequences / time of the step, of the next one. It is asked for
    whenever a request joins or leaves. Of equals the fewer.
    """

    acceptance_lengths: tuple[float, ...]  #: tokens that a step yields of a sequence, by drafted ones, from 0

    @property
    def changes(self) -> bool:
        """Whether the number of drafted tokens changes in a run: it may."""
        return True

    def drafts(self, sequences: int, context_tokens: float) -> int:
        """Tokens that each of so many sequences, with these contexts in all, drafts in a step."""
        if not sequences:
            return max(self.latency)
        lengths, times = self.acceptance_lengths, self.latency
        return max(times, key=lambda k: (lengths[k] / times[k].step_time_s((), sequences, context_tokens), -k))
