"""Whether a run's steps lie beyond what its step times were measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.cluster import InstanceSpec
from llmsim.latency.contract import Measured
from llmsim.record import Record

#: of an instance's decode steps: fewer that are beyond what was measured of their batch are not told
WORTH_TELLING = 0.01


def extrapolated(record: Record, instances: Sequence[InstanceSpec]) -> list[str]:
    """Say how far the largest steps lie beyond the measurements, instance by instance, each said once."""
    said = [words for number, spec in enumerate(instances) if (words := _of_instance(record, number, spec))]
    return list(dict.fromkeys(said))


def _of_instance(record: Record, number: int, spec: InstanceSpec) -> str:
    known = spec.latency.measured
    if known is None:
        return ""
    steps = _Steps.of(record, number)
    reached = steps.reached(_longest_prompt(record, number))
    names = {
        "prompt_tokens": "prompts of {:,} tokens (measured to {:,})",
        "context_tokens": "contexts of {:,} tokens (to {:,})",
        "sequences": "{:,} sequences (to {:,})",
        "step_tokens": "steps of {:,} tokens (to {:,})",
    }
    beyond = [
        words.format(largest, most)
        for name, words in names.items()
        if (largest := getattr(reached, name)) > (most := getattr(known, name))
    ]
    beyond += steps.batches_beyond(known)
    return f"extrapolated for {', '.join(beyond)}" if beyond else ""


def _longest_prompt(record: Record, number: int) -> int:
    requests = record.requests
    served = (requests["instance"] == number) & ~np.isnan(requests["first_scheduled_s"])
    return int(requests["prompt_tokens"][served].max(initial=0))


@dataclass(frozen=True, slots=True)
class _Steps:
    """The rows of one instance's steps; contexts are means over a step's sequences, as step times read them."""

    counts: NDArray[np.int64]  #: steps of each row
    tokens: NDArray[np.int64]  #: computed in each
    decoding: NDArray[np.int64]
    contexts: NDArray[np.float64]  #: of the last step of each row

    @classmethod
    def of(cls, record: Record, number: int) -> _Steps:
        """Those of an instance, by its number."""
        rows = record.steps["instance"] == number
        counts, decoding = record.steps["steps"][rows], record.steps["decoding"][rows]
        contexts = record.steps["context_tokens"][rows] / np.maximum(decoding, 1) + counts - 1
        tokens = record.steps["prefill_tokens"][rows] + decoding
        return cls(counts, tokens, decoding, np.where(decoding > 0, contexts, 0))

    def reached(self, prompt_tokens: int) -> Measured:
        """The largest of each."""
        return Measured(
            sequences=int(self.decoding.max(initial=0)),
            context_tokens=int(self.contexts.max(initial=0)),
            prompt_tokens=prompt_tokens,
            step_tokens=int(self.tokens.max(initial=0)),
        )

    def batches_beyond(self, known: Measured) -> list[str]:
        """Say which batches have longer contexts than were measured with as many sequences, or the next more.

        The one that is farthest beyond, and how many of the decode steps lie there; what is beyond all that was
        measured is not told again.
        """
        if not known.batches:
            return []
        sequences, most = np.array(known.batches).T
        row = np.minimum(np.searchsorted(sequences, self.decoding), len(sequences) - 1)
        longer = (self.decoding > 0) & (self.contexts > most[row]) & (self.contexts <= known.context_tokens)
        share = float((self.counts * longer).sum() / max(1, (self.counts * (self.decoding > 0)).sum()))
        if share < WORTH_TELLING:
            return []
        farthest = int(np.argmax(np.where(longer, self.contexts / most[row], 0)))
        return [
            f"{self.decoding[farthest]:,} sequences with contexts of {int(self.contexts[farthest]):,} tokens (measured "
            f"to {most[row[farthest]]:,} with {sequences[row[farthest]]:,}), {100 * share:.0f} % of decode steps"
        ]
