"""Step times interpolated from measurements.

A step takes linear(tokens) + head(sequences that get a token) + prefill attention + decode attention. All are
piecewise linear between measured points, constant below the first, and keep the last slope beyond the last; but for
prefill attention, each token of which attends to all before it: beyond the last it goes on as b n + c n².

* Decode attention of n sequences is read at their mean context, linear between the two measured numbers of
  sequences around n. For one n it is therefore piecewise linear in the sum of contexts: `StepTable` builds that
  curve once for each n and keeps it.
* Prefill attention was measured without a cached prefix. A chunk of n tokens after c computed ones gets the
  difference work(c + n) - work(c) on top of the launch, where launch + work is the measured curve, but never
  less than one decoding sequence of that context needs to read its keys and values.
* Several chunks share the launch, and fill the GPU better than one: the first costs what it costs alone, each
  other what was measured for one more prompt in a batch.
* Beside a prompt, decode attention may take longer than alone (`mixed_attention`): each sequence's tile and the blocks
  of its context, half a block more than the context fills on average; never less than alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from copy import copy
from typing import TypeVar

from llmsim.latency.contract import Chunk, LatencyModel, Line, Measured
from llmsim.latency.curve import NOWHERE, Curve, Piece
from llmsim.latency.profile import HeadTimes, LinearTimes, MixedDecodeTimes, PrefillTimes, StepProfile

KEPT = 100_000  #: step sizes whose time is remembered
LONGEST_PROMPT_TOKENS = 1 << 20  #: up to which prefill attention grows as a square
KNOT_RATIO = 1.125  #: of one point of that square to the one before


class StepTable(LatencyModel):
    """A `StepProfile` that answers in about a microsecond."""

    def __init__(self, profile: StepProfile, query_tokens: float = 1) -> None:
        self.profile = profile
        self._query_tokens = query_tokens  # that a decoding sequence computes in a step
        prefill, decode = profile.prefill_attention, profile.decode_attention
        self._linear = Curve.through(profile.linear.tokens, profile.linear.time_s)
        self._head = Curve.through(profile.head.sequences, profile.head.time_s)
        self._launch_s = prefill.alone_s[0]
        self._work = prompts_curve(prefill.prompt_tokens, [t - self._launch_s for t in prefill.alone_s])
        self._added = prompts_curve(prefill.prompt_tokens, prefill.added_s)
        columns = zip(*decode.time_s, strict=True)
        self._by_context = [Curve.through(decode.sequences, column) for column in columns]
        self._attention: dict[int, Curve] = {}  # by number of sequences, against the sum of their contexts
        self._decode: dict[int, Curve] = {}  # the same with everything else of a pure decode step
        self._piece: dict[int, Piece] = {}  # of these, the line that they were last on: contexts move slowly
        self._rest: dict[tuple[float, float], float] = {}  # by tokens and sequences: all but attention
        one = self._attention_of(1)
        self._read = one.raised(-one.a[0])
        self._beside_s, self._beside_token_s = _beside_prompts(profile.mixed_decode)

    @property
    def basis(self) -> str:
        """Which operators they are composed of, and how far that was found to be off."""
        profile = self.profile
        named = f"{profile.model} on {profile.gpu} TP{profile.tensor_parallel_size}"
        experts = ", experts dealt out whole" if profile.expert_parallel_size > 1 else ""
        return f"composed of operators ({profile.provenance.engine}), {named}{experts}"

    @property
    def measured(self) -> Measured | None:
        """The ends of the profile's curves."""
        profile, decode = self.profile, self.profile.decode_attention
        return Measured(
            decode.sequences[-1],
            max(decode.measured_context_tokens, default=decode.context_tokens[-1]),
            profile.prefill_attention.prompt_tokens[-1],
            profile.linear.tokens[-1],
            tuple(zip(decode.sequences, decode.measured_context_tokens, strict=False)),
        )

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one step, as the contract says."""
        if not prefill:
            curve = self._decode.get(decoding) or self._decode_of(decoding)
            return curve.at(context_tokens)
        if len(prefill) == 1:
            computed, tokens = prefill[0]
            attention_s = self._launch_s + _new_s(self._work, self._read, computed, computed + tokens)
        else:
            tokens = sum(chunk for _, chunk in prefill)
            attention_s = self._shared_s(prefill)
        computed_tokens = decoding * self._query_tokens
        size = tokens + computed_tokens, len(prefill) + computed_tokens
        rest_s = self._rest.get(size) or self._rest_of(*size)
        if decoding:
            curve = self._attention.get(decoding) or self._attention_of(decoding)
            alone_s = curve.at(context_tokens)
            beside_s = self._beside_s * decoding + self._beside_token_s * context_tokens
            attention_s += alone_s if alone_s > beside_s else beside_s
        return rest_s + attention_s

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Seconds of decode steps in a row, as the contract says."""
        start, end, a, b = self._piece.get(decoding, NOWHERE)
        if not start <= context_tokens < end:
            start, end, a, b = self._piece[decoding] = self.decode_curve(decoding).piece(context_tokens)
        return a + b * context_tokens, b * decoding, int(-((context_tokens - end) // decoding))  # rounded up

    def decode_curve(self, decoding: int) -> Curve:
        """Seconds of a decode step, against the sum of contexts."""
        return self._decode.get(decoding) or self._decode_of(decoding)

    def speculating(self, query_tokens: float) -> StepTable:
        """As the contract says; attention reads keys and values once for all tokens of a sequence."""
        verifying = copy(self)  # it costs little, and is asked for whenever sequences draft other numbers
        verifying._query_tokens, verifying._decode, verifying._piece, verifying._rest = query_tokens, {}, {}, {}
        return verifying

    def with_layers(self, share: float, head: float = 1.0) -> StepTable:
        """As the contract says, with the share of the layers of all that is not the head."""
        profile = self.profile
        linear, prefill, decode = profile.linear, profile.prefill_attention, profile.decode_attention
        parts = {
            "linear": _scaled(linear, share, "time_s"),
            "head": _scaled(profile.head, head, "time_s"),
            "prefill_attention": _scaled(prefill, share, "alone_s", "added_s"),
            "decode_attention": decode.model_copy(
                update={"time_s": tuple(tuple(share * t for t in row) for row in decode.time_s)}
            ),
        }
        if mixed := profile.mixed_decode:
            scaled = {"sequence_s": share * mixed.sequence_s, "block_s": share * mixed.block_s}
            parts["mixed_decode"] = mixed.model_copy(update=scaled)
        return StepTable(profile.model_copy(update=parts), self._query_tokens)

    def _shared_s(self, prefill: Sequence[Chunk]) -> float:
        total_s = surcharge_s = 0.0
        for computed, chunk in prefill:
            end = computed + chunk
            added_s = _new_s(self._added, self._read, computed, end)
            more_s = self._launch_s + _new_s(self._work, self._read, computed, end) - added_s
            total_s += added_s
            surcharge_s = max(surcharge_s, more_s)
        return total_s + surcharge_s

    def _rest_of(self, tokens: float, sequences: float) -> float:
        if len(self._rest) > KEPT:
            self._rest.clear()
        time_s = self._rest[tokens, sequences] = self._linear.at(tokens) + self._head.at(sequences)
        return time_s

    def _decode_of(self, decoding: int) -> Curve:
        tokens = decoding * self._query_tokens
        rest_s = self._linear.at(tokens) + self._head.at(tokens)
        curve = self._decode[decoding] = self._attention_of(decoding).raised(rest_s)
        return curve

    def _attention_of(self, decoding: int) -> Curve:
        times_s = [curve.at(decoding) for curve in self._by_context]
        knots = [context * decoding for context in self.profile.decode_attention.context_tokens]
        curve = self._attention[decoding] = Curve.through(knots, times_s)
        return curve


def prompts_curve(tokens: Sequence[int], work_s: Sequence[float]) -> Curve:
    """Attention of whole prompts through the measured points; beyond the last as b n + c n², through it and its half.

    Layers with a window, and products that go with latent attention, are the part in proportion.
    """
    measured = Curve.through(tokens, work_s)
    last, last_s = tokens[-1], work_s[-1]
    squared_s = min(max(0.0, 2 * (last_s - 2 * measured.at(last / 2))), last_s)  # c n² of the last prompt
    if not squared_s:
        return measured
    knots = list(tokens)
    while knots[-1] < LONGEST_PROMPT_TOKENS:
        knots.append(int(KNOT_RATIO * knots[-1]) + 1)
    shares = [knot / last for knot in knots[len(tokens) :]]
    return Curve.through(knots, [*work_s, *((last_s - squared_s) * x + squared_s * x**2 for x in shares)])


def _beside_prompts(mixed: MixedDecodeTimes | None) -> tuple[float, float]:
    """Seconds of a decoding sequence, and of each token of its context, in a step that holds a prompt."""
    if mixed is None:
        return 0.0, 0.0
    return mixed.sequence_s + mixed.block_s / 2, mixed.block_s / mixed.block_tokens


Times = TypeVar("Times", LinearTimes, HeadTimes, PrefillTimes)


def _scaled(times: Times, factor: float, *columns: str) -> Times:
    return times.model_copy(update={name: tuple(factor * t for t in getattr(times, name)) for name in columns})


def _new_s(curve: Curve, read: Curve, computed: int, end: int) -> float:
    """Seconds, launch apart, of the tokens from `computed` to `end` of one prompt; to `read` its keys takes as long."""
    j = bisect_right(curve.knots, end)
    whole_s = curve.a[j] + curve.b[j] * end  # written out: this is asked for each prompt
    return max(whole_s - curve.at(computed), read.at(end)) if computed else whole_s
