"""Which classes of requests a policy serves better, and which pay for it: against first come, first served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from llmsim.metrics import ranges
from llmsim.metrics.scored import OfClass
from llmsim.metrics.slo import meets
from llmsim.metrics.smooth_goodput import User, benefit_tokens
from llmsim.metrics.window import Window, resolve, run_end_s
from llmsim.record import Timelines

NEGLIGIBLE_TOKENS = 1e-6  #: of the benefit of one user: a smaller change is rounding
#: share of its benefit, or of its attainment, that a class may lose before it is said to pay
NOTICED = 0.02


@dataclass(frozen=True, slots=True)
class Users:
    """How many users a change leaves better or worse off, by their own (hardened) benefit."""

    better: int
    worse: int
    same: int
    gain_tokens: float  #: change of the benefits of all of them together

    @classmethod
    def of(cls, gain_tokens: np.ndarray) -> Users:
        """Count the changes of benefits, (N,)."""
        better, worse = int(np.sum(gain_tokens > NEGLIGIBLE_TOKENS)), int(np.sum(gain_tokens < -NEGLIGIBLE_TOKENS))
        return cls(better, worse, len(gain_tokens) - better - worse, float(gain_tokens.sum()))


@dataclass(frozen=True, slots=True)
class ClassChange:
    """A class of requests under a policy, and what it would have been first come, first served."""

    name: str
    requests: int
    attainment: float
    attainment_first_come: float
    benefit_tokens: float  #: of all its users, hardened: counted from the arrival, charged until the run ends
    benefit_first_come_tokens: float
    users: Users

    @property
    def gains(self) -> bool:
        """Whether more of its requests are within their SLO, or its users have more, by more than is negligible."""
        return self._rises(self.attainment_first_come, self.attainment) or self._more(1)

    @property
    def pays(self) -> bool:
        """Whether its users have less."""
        return self._more(-1)

    def _rises(self, before: float, after: float) -> bool:
        return after - before > NOTICED

    def _more(self, sign: int) -> bool:
        return sign * self.users.gain_tokens > NOTICED * abs(self.benefit_first_come_tokens)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def class_changes(
    served: Timelines,
    first_come: Timelines,
    classes: Mapping[str, OfClass],
    *,
    window: Window,
    end_s: float | None = None,
) -> tuple[ClassChange, ...]:
    """Compare a policy's run with that of the same requests first come, first served, on the requests of the window.

    Each class is judged by its own SLO and reader; those without any are left out.
    """
    ends_s = [run_end_s(served) if end_s is None else end_s, run_end_s(first_come)]
    counted = resolve(window, served).counted
    out = []
    for name, each in classes.items():
        mine = each.mine & counted
        if each.slo is None or each.user is None or not mine.any():
            continue
        user = _hardened(each.user)
        now, before = (ranges.select(timelines, mine) for timelines in (served, first_come))
        benefits = [benefit_tokens(timelines, user, end_s=max(ends_s)) for timelines in (now, before)]
        out.append(
            ClassChange(
                name,
                int(mine.sum()),
                float(meets(now, each.slo).mean()),
                float(meets(before, each.slo).mean()),
                float(benefits[0].sum()),
                float(benefits[1].sum()),
                Users.of(benefits[0] - benefits[1]),
            )
        )
    return tuple(out)


def _hardened(user: User) -> User:
    return replace(user, anchor="arrival", charge="until_run_end", patience_s=None)
