"""Every engine step by itself: sums over them do not depend on how a run has grouped its steps, to the bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmsim.record import Floats, Ints, Record


@dataclass(frozen=True, eq=False)
class SingleSteps:
    """The steps of one instance in order of time; all arrays have shape (steps,)."""

    start_s: Floats
    end_s: Floats
    prefill_tokens: Ints
    decoding: Ints
    context_tokens: Ints  #: sum of the contexts that decoding sequences attend to

    @classmethod
    def of(cls, record: Record, instance: int) -> SingleSteps:
        """Take the rows of an instance apart: within a row, each step begins when the one before it ends."""
        table = record.steps
        rows = np.flatnonzero(table["instance"] == instance)
        many = table["steps"][rows]
        row = np.repeat(rows, many)
        place = np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)
        decoding = table["decoding"][row]
        end_s = table["end_s"][row]
        end_s[decoding > 0] = record.step_ends_s[instance]
        before_s = np.concatenate([np.zeros(1), end_s])[:-1]
        return cls(
            start_s=np.where(place == 0, table["start_s"][row], before_s),
            end_s=end_s,
            prefill_tokens=table["prefill_tokens"][row],
            decoding=decoding,
            context_tokens=table["context_tokens"][row] + place * decoding,
        )

    def lasts_s(self, start_s: float = -np.inf, stop_s: float = np.inf) -> Floats:
        """How long each step lasts between two times."""
        return np.asarray(np.maximum(np.minimum(self.end_s, stop_s) - np.maximum(self.start_s, start_s), 0.0))
