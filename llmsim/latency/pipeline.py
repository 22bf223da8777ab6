"""Pipeline parallelism: layers in stages on GPUs of their own, and as many batches under way as there are stages.

As in vLLM (`--pipeline-parallel-size`): each request is in one of the batches under way, and is not scheduled again
before that has left the last stage; the oldest batch makes room for the next. One instance stands for all batches: a
step of it is a *cycle*, in which each of them goes through all stages once, and each sequence gets a token.

    cycle = max(the slowest batch through all stages, all batches through the slowest stage), hops included

The slowest stage is the last one: a stage's share of the layers, rounded up, and the head. Sequences that decode are
spread evenly over the batches. Prompts fill one batch after the other up to the token budget; a long one goes on in the
next batch at once, as its tokens count as computed when they are scheduled.

Less certain, in three ways. Real batches are not even: requests that were prefilled together decode together. A request
that arrives waits for the end of a cycle, not of a batch: half a cycle too long on average. A prompt that takes several
batches of a cycle is done with the first of them: up to (stages - 1) / stages of a batch's time too early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmsim.errors import InputError
from llmsim.latency.contract import Chunk, LatencyModel, Line, Measured
from llmsim.latency.gpu import Gpu
from llmsim.latency.kv_memory import layers_share
from llmsim.latency.model import BF16_BYTES, Architecture

HOP_S = 20e-6  #: from one stage to the next before the first byte: assumed
LINK_SHARE = 0.5  #: of the bandwidth between GPUs that a hop reaches: assumed, as the roofline's


@dataclass(frozen=True)
class Pipeline(LatencyModel):
    """Cycles of a pipeline."""

    whole: LatencyModel  #: all layers, as on the GPUs of one stage
    last: LatencyModel  #: the last stage's layers, and the head
    stages: int
    batch_tokens: int  #: token budget of a batch
    hop_s: float = HOP_S
    hop_token_s: float = 0.0  #: as much again for each token of the batch

    @property
    def basis(self) -> str:
        """What the times of all layers rest on, and how uncertain stages are."""
        return f"{self.whole.basis}, {self.stages} pipeline stages with even batches: less certain"

    @property
    def measured(self) -> Measured | None:
        """What was measured of a batch, for all that are under way."""
        one = self.whole.measured
        return None if one is None else one.times(self.stages)

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one cycle, as the contract says."""
        mine, context = self._of_a_batch(decoding, context_tokens)
        # the room beside the fewest sequences, so that the budgets of all never make one batch more than stages
        room = max(1, self.batch_tokens - decoding // self.stages)
        batches: list[tuple[Sequence[Chunk], int]] = [(chunks, 1) for chunks in packed(prefill, room)]
        if (without := min(self.stages, decoding) - len(batches)) > 0:
            batches.append(((), without))
        slowest_s = through_last_s = 0.0
        for chunks, alike in batches:
            hop_s = self._hop_s(mine + sum(tokens for _, tokens in chunks))
            slowest_s = max(slowest_s, self.whole.step_time_s(chunks, mine, context) + self.stages * hop_s)
            through_last_s += alike * (self.last.step_time_s(chunks, mine, context) + hop_s)
        return max(slowest_s, through_last_s)

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Seconds of cycles in a row, as the contract says."""
        mine, context = self._of_a_batch(decoding, context_tokens)
        under_way, hop_s = min(self.stages, decoding), self._hop_s(mine)
        whole_s, growth_s, steps = self.whole.decode_line(mine, context)
        last_s, last_growth_s, last_steps = self.last.decode_line(mine, context)
        latency = whole_s + self.stages * hop_s, growth_s, min(steps, last_steps)
        throughput = under_way * (last_s + hop_s), under_way * last_growth_s, min(steps, last_steps)
        return _larger(latency, throughput)

    def _of_a_batch(self, decoding: int, context_tokens: float) -> tuple[int, float]:
        """Sequences of the batch that has the most, and the sum of their contexts."""
        most = -(-decoding // self.stages)
        return most, context_tokens * most / decoding if decoding else 0.0

    def _hop_s(self, tokens: float) -> float:
        return self.hop_s + self.hop_token_s * tokens


def packed(chunks: Sequence[Chunk], tokens: int) -> list[list[Chunk]]:
    """Fill batches of so many tokens with chunks of prompts in turn; what does not fit goes on in the next batch."""
    batches: list[list[Chunk]] = []
    room = 0
    for before, whole in chunks:
        done = 0
        while done < whole:
            if not room:
                batches.append([])
                room = tokens
            taken = min(whole - done, room)
            batches[-1].append((before + done, taken))
            done, room = done + taken, room - taken
    return batches


def _larger(one: Line, other: Line) -> Line:
    """The larger of two lines of as many steps, as far as it stays so."""
    if one[0] < other[0]:
        one, other = other, one
    first, growth, steps = one
    nearer = other[1] - growth
    if nearer > 0:
        steps = min(steps, int((first - other[0]) / nearer) + 1)
    return first, growth, steps


def in_stages(
    times: LatencyModel, gpu: Gpu, model: Architecture, tensor_parallel_size: int, stages: int, batch_tokens: int
) -> LatencyModel:
    """Times of a model in stages of so many GPUs each, from those of all layers on the GPUs of one stage.

    InputError where layers cannot be told apart, or there are fewer than stages.
    """
    if stages == 1:
        return times
    share = layers_share(model, stages)
    try:
        last = times.with_layers(share)
    except InputError:
        raise InputError(
            f"pipeline_parallel_size = {stages}: step times of {type(times).__name__} do not tell layers apart; "
            'expected latency = "table" or "roofline"'
        ) from None
    # rows of the hidden size and of the residual, each GPU a share
    sent = 2 * BF16_BYTES * model.hidden_size / tensor_parallel_size
    token_s = sent / (LINK_SHARE * gpu.interconnect_bytes_per_s)
    return Pipeline(times, last, stages, batch_tokens, hop_token_s=token_s)
