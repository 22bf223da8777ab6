"""Every engine step by itself: sums over them do not depend on how a run has grouped its steps, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llmsim.record import Floats, Ints, Record

#: steps at a time: few enough to stay in the processor's cache, however long a run; blocks are counted in steps, so
#: that they too are the same however these were grouped
BLOCK = 1 << 15


@dataclass(frozen=True, eq=False)
class SingleSteps:
    """Some steps of one instance in order of time; all arrays have shape (steps,)."""

    start_s: Floats
    end_s: Floats
    prefill_tokens: Ints
    decoding: Ints
    context_tokens: Ints  #: sum of the contexts that decoding sequences attend to
    drafted_tokens: Ints | None = None  #: by all of them; None where none speculates

    @classmethod
    def blocks(cls, record: Record, instance: int) -> Iterator[SingleSteps]:
        """Take the rows of an instance apart, a block after another: within a row a step begins when another ends."""
        table = record.steps
        rows = np.flatnonzero(table["instance"] == instance)
        of = {name: column[rows] for name, column in table.items()}
        through = np.cumsum(of["steps"])
        steps = int(through[-1]) if len(rows) else 0
        decoded, before_s = 0, 0.0
        for lo in range(0, steps, BLOCK):
            hi = min(lo + BLOCK, steps)
            first, last = np.searchsorted(through, (lo, hi - 1), side="right")
            row = np.repeat(np.arange(first, last + 1), np.diff(np.minimum(through[first : last + 1], hi), prepend=lo))
            place = np.arange(lo, hi) - (through - of["steps"])[row]
            decoding, end_s = of["decoding"][row], of["end_s"][row]
            decodes = decoding > 0
            upto = decoded + int(decodes.sum())
            end_s[decodes] = record.step_ends_s[instance][decoded:upto]
            begun_s = np.concatenate([[before_s], end_s[:-1]])
            yield cls(
                start_s=np.where(place == 0, of["start_s"][row], begun_s),
                end_s=end_s,
                prefill_tokens=of["prefill_tokens"][row],
                decoding=decoding,
                context_tokens=of["context_tokens"][row] + place * decoding,
                drafted_tokens=of["drafted_tokens"][row] if "drafted_tokens" in of else None,
            )
            decoded, before_s = upto, float(end_s[-1])

    def lasts_s(self, start_s: float = -np.inf, stop_s: float = np.inf) -> Floats:
        """How long each step lasts between two times."""
        return np.asarray(np.maximum(np.minimum(self.end_s, stop_s) - np.maximum(self.start_s, start_s), 0.0))


def busy_s(record: Record, instance: int, start_s: float = -np.inf, stop_s: float = np.inf) -> float:
    """Time in which an instance is in a step, between two times."""
    return sum((float(steps.lasts_s(start_s, stop_s).sum()) for steps in SingleSteps.blocks(record, instance)), 0.0)
