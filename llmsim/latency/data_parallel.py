"""Attention data parallelism: ranks with requests, keys and values of their own, and experts that all of them share.

As in vLLM (`--data-parallel-size` with experts): each rank attends to its own sequences, on its own tensor-parallel
GPUs, with a copy of all weights but the routed experts. In each layer with experts all ranks wait for each other: every
GPU gathers the tokens of all ranks and computes its experts. So a step takes what its slowest rank takes by itself, and
what the experts take for the tokens of all ranks.

One instance stands for all ranks, evenly loaded: sequences that decode are shared out alike, prompts go to the rank
with the fewest prompt tokens in the step, the longest first. Real ranks are not even, so that a real step takes longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmsim.latency.contract import Chunk, LatencyModel, Line, Measured
from llmsim.latency.curve import Curve
from llmsim.latency.gpu import Gpu
from llmsim.latency.model import Model
from llmsim.latency.profile import StepProfile
from llmsim.latency.roofline import Efficiencies, Roofline
from llmsim.latency.table import StepTable


@dataclass(frozen=True)
class DataParallel(LatencyModel):
    """Step times of all ranks together."""

    rank: LatencyModel  #: of one rank, without the routed experts
    shared_s: Callable[[float], float]  #: seconds of what all ranks share, by the tokens of all of them
    ranks: int
    query_tokens: float = 1  #: that each decoding sequence computes in a step

    @property
    def basis(self) -> str:
        """What a rank's times rest on, and how uncertain ranks are."""
        return f"{self.rank.basis}, attention on {self.ranks} ranks in lockstep, evenly loaded: less certain"

    @property
    def measured(self) -> Measured | None:
        """What was measured of a rank, on all of them."""
        one = self.rank.measured
        if one is None:
            return None
        return one.times(self.ranks)

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one step, as the contract says."""
        mine, context = self._of_a_rank(decoding, context_tokens)
        if not prefill:
            return self.rank.step_time_s((), mine, context) + self.shared_s(decoding * self.query_tokens)
        slowest_s = max(self.rank.step_time_s(chunks, mine, context) for chunks in dealt(prefill, self.ranks))
        tokens = decoding * self.query_tokens + sum(tokens for _, tokens in prefill)
        return slowest_s + self.shared_s(tokens)

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        first_s, growth_s, steps = self.rank.decode_line(*self._of_a_rank(decoding, context_tokens))
        return first_s + self.shared_s(decoding * self.query_tokens), growth_s, steps

    def speculating(self, query_tokens: float) -> DataParallel:
        """As the contract says."""
        return DataParallel(self.rank.speculating(query_tokens), self.shared_s, self.ranks, query_tokens)

    def _of_a_rank(self, decoding: int, context_tokens: float) -> tuple[int, float]:
        """Sequences of the rank that has the most, and the sum of their contexts."""
        most = -(-decoding // self.ranks)
        return most, context_tokens * most / decoding if decoding else 0.0


def dealt(chunks: Sequence[Chunk], ranks: int) -> list[list[Chunk]]:
    """Deal chunks of prompts out to ranks, the longest first, each to the rank with the fewest tokens; none empty."""
    of_ranks: list[list[Chunk]] = [[] for _ in range(min(ranks, len(chunks)))]
    loads = [0] * len(of_ranks)
    for chunk in sorted(chunks, key=lambda chunk: chunk[1], reverse=True):
        least = loads.index(min(loads))
        of_ranks[least].append(chunk)
        loads[least] += chunk[1]
    return of_ranks


def of_profile(profile: StepProfile) -> LatencyModel:
    """Step times of a profile, which may be of ranks that share experts."""
    table, shared = StepTable(profile), profile.shared_experts
    if shared is None:
        return table
    return DataParallel(table, Curve.through(shared.tokens, shared.time_s).at, profile.architecture.ranks)


def of_data_sheet(
    gpu: Gpu, model: Model, tensor_parallel_size: int = 1, efficiencies: Efficiencies | None = None
) -> LatencyModel:
    """Step times by the roofline of a model, which may be over ranks that share experts."""
    roofline = Roofline(gpu, model, tensor_parallel_size, efficiencies)
    return roofline if model.ranks == 1 else DataParallel(roofline, roofline.shared_s, model.ranks)
