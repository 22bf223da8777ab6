"""The contracts of step times: where they come from, and how long a step takes on the GPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from llmsim.errors import InputError

if TYPE_CHECKING:
    from llmsim.latency.gpu import Gpu
    from llmsim.latency.model import Model

#: (tokens of the request already computed, tokens computed in this step)
Chunk = tuple[int, int]

#: decode steps in a row: seconds of the first, seconds that each takes longer than the one before, for how many steps
#: that holds
Line = tuple[float, float, int]
UNBOUNDED = 1 << 40  #: steps: more than there ever are


@dataclass(frozen=True, slots=True)
class Measured:
    """The largest steps that were measured; what lies beyond is extrapolated."""

    sequences: int  #: that decode
    context_tokens: int  #: of a decoding sequence
    prompt_tokens: int
    step_tokens: int
    #: (sequences, largest context measured with so many), where larger batches were measured to shorter ones
    batches: tuple[tuple[int, int], ...] = ()

    def times(self, parts: int) -> Measured:
        """Return what was measured of one part, for a step of so many alike."""
        batches = tuple((parts * sequences, context) for sequences, context in self.batches)
        return replace(self, sequences=parts * self.sequences, step_tokens=parts * self.step_tokens, batches=batches)


class LatencySource(ABC):
    """Where the step times of instances come from: what `cluster.latency` of a scenario names.

    A frozen dataclass whose fields are its options. One file with one such class is all that a new one takes: in
    llmsim/latency/sources/, as an entry point of the group ``llmsim.latency.sources``, or given to ``--latency-file``.
    """

    @classmethod
    def examples(cls) -> Sequence[Self]:
        """Return some to test; override it where options have no defaults."""
        return (cls(),)

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that it reads: a sweep runs a point anew when their content has changed."""
        return ()

    @abstractmethod
    def for_instance(self, gpu: Gpu, model: Model, tensor_parallel_size: int) -> LatencyModel:
        """Return the step times of a model on so many of these GPUs; InputError where there are none."""


class LatencyModel(LatencySource):
    """Seconds per engine step. Subclasses are pure: the same batch always takes the same time.

    One that needs to know neither GPU nor model is its own source.
    """

    def for_instance(self, gpu: Gpu, model: Model, tensor_parallel_size: int) -> LatencyModel:
        """Return itself: the same on any GPU."""
        return self

    @property
    def basis(self) -> str:
        """What the step times rest on, in words that end "step times: ..."."""
        return f"{type(self).__name__}, as given"

    @property
    def measured(self) -> Measured | None:
        """How far measurements reach; None: they rest on none, or on a formula."""
        return None

    @abstractmethod
    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        """Seconds of one step that prefills these chunks and decodes one token for each of `decoding` sequences.

        `context_tokens` is the sum over the decoding sequences of the tokens that they attend to, the one being
        computed included; a whole number, unless requests speculate. At least one of `prefill` and `decoding` is not
        empty.
        """

    def decode_line(self, decoding: int, context_tokens: float) -> Line:
        """Return the times of decode steps in a row, as far as they lie on a line: at least of one.

        Contexts grow by one token per sequence and step. The first takes ``step_time_s((), decoding, context_tokens)``
        to the bit, step k what that is for ``context_tokens + k * decoding``, up to rounding. Override it: steps on one
        line cost as much as one step.
        """
        return self.step_time_s((), decoding, context_tokens), 0.0, 1

    def speculating(self, query_tokens: float) -> LatencyModel:
        """Return the times of steps in which each decoding sequence computes so many tokens: drafted ones, to verify.

        Where sequences draft different numbers, their mean. `context_tokens` does not count what is drafted. Override
        it; InputError where nothing is known of such steps.
        """
        raise InputError(f"step times of {type(self).__name__} do not say what it takes to verify drafted tokens")

    def with_layers(self, share: float, head: float = 1.0) -> LatencyModel:
        """Return the times of a model with these shares of the layers and of the head: a drafter.

        Override it; InputError where layers are not known.
        """
        raise InputError(
            f"step times of {type(self).__name__} do not tell layers apart; expected seconds or a model for the drafter"
        )
