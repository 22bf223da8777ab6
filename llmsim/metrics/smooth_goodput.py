"""Smooth goodput (arXiv 2410.14257, equations 5 and 9-11), hardened against dropped requests.

A user takes in one token per V = 1 / tokens_per_s seconds, so token i is due at

    d_i = anchor + offset_s + V (i - 1 + index_base)

and the user idle latency is l = max_i (t_i - d_i) (eq. 9). benefit = n - alpha f(l) (eq. 10), n the tokens
delivered; smooth goodput is the sum of benefits over all requests, divided by T (eq. 11). The paper leaves
f open and charges nothing for a request that is dropped; here every choice is a field of `User`, and
travels with each result.

A request that ended after k tokens, before its last, waited for token k + 1 in vain until some time w. It
is charged l = max(lateness delivered, w - d_{k+1}). When w comes no earlier than the time at which the last
token would have come, dropping never pays: if the worst token is one of the first k, it is in both maxima;
if not, it came by w and was due after d_{k+1}, so w - d_{k+1} is no less. `until_run_end` gives this
whenever the run is no shorter than the run that serves the request (compare policies with the same end).
`until_patience` gives it when every served token would have come within the patience; `until_drop` charges
only the wait up to the drop, so an early drop can still pay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from llmsim.errors import InputError, nearest
from llmsim.metrics import ranges
from llmsim.metrics.ranges import Bools
from llmsim.metrics.slo import GRACE_S
from llmsim.metrics.window import ARRIVALS, Window, per_second, resolve, run_end_s
from llmsim.record import Floats, Ints, Timelines
from llmsim.request import Outcome

Anchor = Literal["arrival", "first_token"]
Penalty = Literal["linear", "tokens", "quadratic", "clipped", "saturating", "indicator"]
ANCHORS: tuple[Anchor, ...] = get_args(Anchor)
PENALTIES: tuple[Penalty, ...] = get_args(Penalty)
CHARGES = ("until_drop", "until_patience", "until_run_end")


@dataclass(frozen=True, slots=True)
class User:
    """A reader, and the choices that the paper leaves open; V and alpha default to its second version.

    The penalty alpha f(l) in tokens, with l+ = max(0, l) in seconds: `linear` alpha l+; `tokens` alpha l+ /
    V; `quadratic` alpha l+^2; `clipped` min(alpha l+, n); `saturating` alpha (1 - exp(-l+ / 1 s));
    `indicator` n if l > 0 or unfinished, which gives classical goodput (and has no alpha).
    """

    tokens_per_s: float = 5.0
    alpha: float = 2.5
    anchor: Anchor = "arrival"
    offset_s: float = 0.0  #: response delay that the user tolerates
    index_base: Literal[0, 1] = 1  #: d_1 is one V after the anchor (1) or at the anchor (0)
    penalty: Penalty = "linear"
    charge: Literal["until_drop", "until_patience", "until_run_end"] = "until_run_end"
    patience_s: float | None = None  #: wait since the latest token (or the arrival), for `until_patience`

    def __post_init__(self) -> None:
        _known("anchor", self.anchor, ANCHORS)
        _known("penalty", self.penalty, PENALTIES)
        _known("charge", self.charge, CHARGES)
        _at_least("alpha", self.alpha, 0.0)
        _at_least("offset_s", self.offset_s, 0.0)
        if not (math.isfinite(self.tokens_per_s) and self.tokens_per_s > 0):
            raise InputError(f"user.tokens_per_s: expected more than 0, got {self.tokens_per_s!r}")
        if self.index_base not in (0, 1):
            raise InputError(f"user.index_base: expected 0 or 1, got {self.index_base!r}")
        if (self.charge == "until_patience") != (self.patience_s is not None):
            raise InputError("user.patience_s: needed with charge 'until_patience', and only there")
        _at_least("patience_s", self.patience_s or 0.0, 0.0)

    @property
    def seconds_per_token(self) -> float:
        """V."""
        return 1.0 / self.tokens_per_s

    def due_s(self, index: Ints | int) -> Floats:
        """Deadline d_i (eq. 5) of token i = 1, 2, … in seconds after the anchor."""
        return self.offset_s + self.seconds_per_token * (np.asarray(index) - 1 + self.index_base)


def _known(field: str, name: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise InputError(f"user.{field}: unknown '{name}'{nearest(str(name), names)}")


def _at_least(field: str, value: float, bound: float) -> None:
    if not (math.isfinite(value) and value >= bound):
        raise InputError(f"user.{field}: expected {bound:g} or more, got {value!r}")


def delivered_lateness_s(timelines: Timelines, user: User) -> Floats:
    """Largest t_i - d_i of the delivered tokens (eq. 9), (N,), seconds; -inf without any. No charge."""
    latest_s = ranges.max_over_line_s(timelines, user.seconds_per_token)
    return latest_s - _anchor_s(timelines, user) - float(user.due_s(0))


def idle_latency_s(timelines: Timelines, user: User, *, end_s: float | None = None) -> Floats:
    """User idle latency l with the charge for requests that ended before their last token, (N,), seconds.

    `end_s` is when the run ended, for `until_run_end` (left out: the last `Timelines.end_s`). -inf where
    nothing was due: a request that finished without a token.
    """
    rows = ranges.layout(timelines)
    late_s = delivered_lateness_s(timelines, user)
    waited_s = _waited_until_s(timelines, user, run_end_s(timelines) if end_s is None else end_s)
    overdue_s = waited_s - _anchor_s(timelines, user) - user.due_s(rows.n_tokens + 1)
    return np.where(timelines.outcome == Outcome.FINISHED, late_s, np.maximum(late_s, overdue_s))


def _anchor_s(timelines: Timelines, user: User) -> Floats:
    """Without a first token there is nothing else to count from: the arrival."""
    if user.anchor == "arrival":
        return timelines.arrival_s
    first_s = ranges.first_token_s(timelines)
    return np.where(np.isnan(first_s), timelines.arrival_s, first_s)


def _waited_until_s(timelines: Timelines, user: User, end_s: float) -> Floats:
    """When a user whose request ended early is taken to stop waiting. A user that left by choice stopped then."""
    dropped = np.isin(timelines.outcome, (Outcome.ABANDONED, Outcome.REJECTED))
    out = timelines.end_s.copy()
    if user.charge == "until_run_end":
        out[dropped] = np.maximum(out[dropped], end_s)
    elif user.patience_s is not None:
        latest_s = ranges.last_token_s(timelines)
        latest_s = np.where(np.isnan(latest_s), timelines.arrival_s, latest_s)
        out[dropped] = np.maximum(out, latest_s + user.patience_s)[dropped]
    return out


def penalty_tokens(idle_s: Floats, n_tokens: Ints, finished: Bools, user: User) -> Floats:
    """Return alpha f(l) of eq. 10 in tokens, (N,); see `User` for the forms of f."""
    late_s = np.maximum(idle_s, 0.0)
    match user.penalty:
        case "linear":
            return user.alpha * late_s
        case "tokens":
            return user.alpha * late_s * user.tokens_per_s
        case "quadratic":
            return user.alpha * late_s**2
        case "clipped":
            return np.minimum(user.alpha * late_s, n_tokens)
        case "saturating":
            return -user.alpha * np.expm1(-late_s)
        case "indicator":
            return np.where(finished & (idle_s <= GRACE_S), 0.0, n_tokens)


def benefit_tokens(timelines: Timelines, user: User, *, end_s: float | None = None) -> Floats:
    """Benefit of each request, n - alpha f(l) (eq. 10), (N,), tokens."""
    rows = ranges.layout(timelines)
    idle_s = idle_latency_s(timelines, user, end_s=end_s)
    finished = timelines.outcome == Outcome.FINISHED
    return rows.n_tokens - penalty_tokens(idle_s, rows.n_tokens, finished, user)


def smooth_goodput_tokens_per_s(
    timelines: Timelines, user: User, window: Window = ARRIVALS, *, end_s: float | None = None
) -> float:
    """Sum of the benefits of the requests in the window, divided by T (eq. 11); NaN where T is 0."""
    span = resolve(window, timelines)
    end_s = run_end_s(timelines) if end_s is None else end_s
    counted = ranges.select(timelines, span.counted)
    return per_second(float(benefit_tokens(counted, user, end_s=end_s).sum()), span)


def meets_user(timelines: Timelines, user: User) -> Bools:
    """Which requests meet the SLO of eq. 5, (N,): finished, and no token after the reader wanted it."""
    late_s = delivered_lateness_s(timelines, user)
    out: Bools = (late_s <= GRACE_S) & (timelines.outcome == Outcome.FINISHED)
    return out
