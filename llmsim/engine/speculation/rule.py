"""How many tokens the requests of an instance draft, and what that costs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from llmsim.latency.contract import LatencyModel


@dataclass(frozen=True)
class Speculation:
    """How the requests of an instance speculate: so many drafted tokens of each, by the number that decode."""

    #: (largest number of sequences, tokens that each drafts in a step), ascending; the last one holds for more, too
    by_batch: tuple[tuple[int, int], ...]
    lookahead: int  #: tokens beyond the drafted ones that each has memory for, as vLLM has for drafters with a KV cache
    latency: Mapping[int, LatencyModel]  #: step times by drafted tokens
    #: step times where sequences draft different numbers: of how many that draft how many; None: they never do
    mixed: Callable[[Mapping[int, int]], LatencyModel] | None = field(default=None, kw_only=True)

    def step_times(self, mix: Mapping[int, int], otherwise: int = 0) -> LatencyModel:
        """Step times where so many sequences draft so many (tokens -> sequences); of none as with `otherwise`."""
        if len(mix) > 1:
            assert self.mixed is not None
            return self.mixed(mix)
        return self.latency[next(iter(mix), otherwise)]

    @property
    def most(self) -> int:
        """The most tokens that a sequence drafts in a step."""
        return max(drafts for _, drafts in self.by_batch)

    def drafts(self, sequences: int, context_tokens: float) -> int:
        """Tokens that each of so many sequences, with these contexts in all, drafts in a step."""
        if len(self.by_batch) == 1:
            return self.by_batch[0][1]
        at = bisect_left(self.by_batch, sequences, key=lambda row: row[0])
        return self.by_batch[min(at, len(self.by_batch) - 1)][1]

    @property
    def changes(self) -> bool:
        """Whether the number of drafted tokens changes in a run: by the batch, or as a scheduler decides."""
        return len({drafts for _, drafts in self.by_batch}) > 1 or self.mixed is not None

    def reach(self, lag: int) -> int:
        """Tokens, beyond those in memory, that each sequence has memory for in a step: for the most it may draft.

        With `lag` = 1 for those of the step before as well, of which it is not known what is accepted.
        """
        return (1 + lag) * (1 + self.most) + self.lookahead


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
