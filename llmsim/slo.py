"""What a client asks of a request's latencies: its SLO (service level objective)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from llmsim.errors import InputError


@dataclass(frozen=True, slots=True)
class Slo:
    """Bounds in seconds; None leaves a quantity unbounded. At least one is needed.

    InputError for none, for one that is no time, and for two that contradict each other.
    """

    ttft_s: float | None = None
    tbt_s: float | None = None  #: every gap between tokens (arXiv 2410.14257, eq. 2)
    tpot_s: float | None = None  #: their mean per request (eq. 3)
    e2e_s: float | None = None  #: the last token (eq. 4)
    #: token i is due at ttft_s + (i - 1) of these after the arrival (Aegaeon); without ttft_s at i of them (eq. 5)
    token_deadline_s: float | None = None

    def __post_init__(self) -> None:
        bounds = asdict(self)
        if all(bound is None for bound in bounds.values()):
            raise InputError(f"slo: no bound given; expected at least one of {', '.join(bounds)}")
        for name, bound in bounds.items():
            if bound is not None and not (math.isfinite(bound) and bound >= 0):
                raise InputError(f"slo.{name}: expected seconds, 0 or more, got {bound!r}")
        if (why := contradiction(self.ttft_s, self.e2e_s)) is not None:
            raise InputError(f"slo: {why}")

    @property
    def per_token_s(self) -> float | None:
        """The bound on the time per token, by mean, gap or deadline: the first of them that is given."""
        if self.tpot_s is not None:
            return self.tpot_s
        return self.token_deadline_s if self.tbt_s is None else self.tbt_s

    def given(self) -> dict[str, float]:
        """The bounds that there are, by name."""
        return {name: bound for name, bound in asdict(self).items() if bound is not None}


def bound_name(bound: str) -> str:
    """What a bound is called: "TTFT" for ttft_s, "ITL" for tbt_s, "token deadline" for token_deadline_s."""
    name = bound.removesuffix("_s")
    return name.replace("_", " ") if "_" in name else "ITL" if name == "tbt" else name.upper()


def contradiction(ttft_s: float | None, e2e_s: float | None) -> str | None:
    """Say why no request could need both bounds: the last token is never before the first; None if one could."""
    if ttft_s is None or e2e_s is None or ttft_s <= e2e_s:
        return None
    return f"ttft_s = {ttft_s:g} is above e2e_s = {e2e_s:g}: the first token is no later than the last; lower ttft_s"
