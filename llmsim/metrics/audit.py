"""The audit: which metrics of a result can be improved by manipulation, while no user is better off.

A result is compared with itself after its tokens were delayed to the TBT bound, and after the requests that miss their
SLO were dropped (what that frees stays unused). In neither does a user get anything more, or anything earlier, so
whatever improves can be gamed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from llmsim.delivery import output_delay
from llmsim.errors import InputError
from llmsim.metrics import goodput, ranges, request_latency
from llmsim.metrics import slo as slos
from llmsim.metrics.catalogue import kpi_of
from llmsim.metrics.class_audit import ClassChange, Users
from llmsim.metrics.fluidity import fluidity_index
from llmsim.metrics.kpi import LESS, MORE, Kpi
from llmsim.metrics.manipulate import drop_those_that_miss
from llmsim.metrics.qoe import qoe
from llmsim.metrics.smooth_goodput import (
    User,
    benefit_tokens,
    delivered_lateness_s,
    penalty_tokens,
    smooth_goodput_tokens_per_s,
)
from llmsim.metrics.summary import number
from llmsim.metrics.window import ARRIVALS, Span, Window, per_second, resolve, run_end_s
from llmsim.record import Timelines
from llmsim.request import Outcome
from llmsim.slo import Slo

PACED, DROPPED, ABANDONED, UNDRAFTED = "paced", "dropped", "abandoned", "undrafted"


def _as(key: str, of: str, population: str = "") -> Kpi:
    """A KPI of the score under the name that the audit has for it, over requests that it may select otherwise."""
    kpi = kpi_of(of)
    return replace(kpi, key=key, name=f"{kpi.name} {population}".rstrip())


METRICS = (
    _as("throughput", "output_tokens_per_s"),
    _as("ttft_p50", "ttft_s.p50", "(completed)"),
    _as("ttft_p99", "ttft_s.p99", "(completed)"),
    _as("ttft_p99_all", "ttft_s.p99", "(all)"),
    _as("tpot_mean", "tpot_s.mean"),
    _as("tbt_p50", "tbt_s.p50"),
    _as("tbt_p99", "tbt_s.p99"),
    Kpi("gap over 0.5 s", "share", "share", LESS, "%", key="stalls"),
    _as("e2e_p99", "e2e_s.p99", "(completed)"),
    replace(_as("attainment_tbt", "slo.attainment"), name="ITL attainment"),
    _as("attainment", "slo.attainment", "(all)"),
    _as("attainment_completed", "slo.attainment", "(completed)"),
    _as("goodput", "slo.goodput_tokens_per_s"),
    Kpi("wasted tokens", "tokens/s", "rate", LESS, key="waste"),
    Kpi("Andes QoE", "", "ratio", MORE, key="qoe"),
    Kpi("Etalon fluidity", "", "ratio", MORE, key="fluidity"),
    replace(_as("smooth_uncharged", "smooth_goodput_tokens_per_s"), name="uncharged smooth goodput"),
    replace(_as("smooth_first_token", "smooth_goodput_tokens_per_s"), name="1st-token smooth goodput"),
    replace(_as("smooth", "smooth_goodput_tokens_per_s"), name="hardened smooth goodput"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """A metric after a manipulation."""

    value: float | None
    change: float | None
    direction: str  #: "up", "down", "unchanged", or "unknown" where a value does not exist
    improves: bool
    gameable: bool  #: improves, while users taken together are no better off


@dataclass(frozen=True, slots=True)
class Row:
    """A metric of the result as it is, and after each manipulation; values in the metric's unit."""

    metric: Kpi
    as_is: float | None
    after: dict[str, Change]

    def to_dict(self) -> dict[str, Any]:
        """JSON values, those after a manipulation under its name."""
        return {
            "metric": self.metric.key,
            "words": self.metric.name,
            "unit": self.metric.shown_unit,
            "better": "up" if self.metric.better > 0 else "down",
            "as_is": self.as_is,
            **{name: asdict(change) for name, change in self.after.items()},
        }


@dataclass(frozen=True, slots=True)
class AuditChoices:
    """By what all versions of a result are judged alike."""

    slo: Slo
    user: User
    window_s: tuple[float, float]  #: arrivals from, before
    end_s: float  #: until which readers of dropped requests are charged

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"slo": asdict(self.slo), "user": asdict(self.user), "window": list(self.window_s), "end_s": self.end_s}


@dataclass(frozen=True, slots=True)
class Audit:
    """The table, and how many users each manipulation helped or hurt."""

    rows: tuple[Row, ...]
    users: dict[str, Users]
    pace_s: float
    choices: AuditChoices
    #: each class of requests against first come, first served; (): not simulated, or served so
    classes: tuple[ClassChange, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        own = {"classes": [each.to_dict() for each in self.classes]} if self.classes else {}
        return {
            "pace_s": self.pace_s,
            "choices": self.choices.to_dict(),
            "users": {name: asdict(count) for name, count in self.users.items()},
            "metrics": [row.to_dict() for row in self.rows],
            **own,
        }


def audit(
    timelines: Timelines,
    *,
    slo: Slo,
    user: User,
    window: Window = ARRIVALS,
    end_s: float | None = None,
    pace_s: float | None = None,
    others: Mapping[str, Timelines] | None = None,
) -> Audit:
    """Audit a result on the requests of `window`.

    `pace_s` is the gap to delay tokens to (left out: the TBT bound, or else the reader's V). `others` are further
    counterfactuals by name, such as a run in which abandoned requests free capacity; they have the same requests.
    All are judged over the same time T, that of the result as it is, and charged until the same end: a makespan that
    shrinks with the work would be one more thing to game.
    """
    pace_s = pace_s or slo.tbt_s or user.seconds_per_token
    versions = {PACED: output_delay(timelines, pace_s), DROPPED: drop_those_that_miss(timelines, slo), **(others or {})}
    ends = [run_end_s(timelines) if end_s is None else end_s, *(run_end_s(version) for version in versions.values())]
    hardened = replace(user, anchor="arrival", charge="until_run_end", patience_s=None)
    span = resolve(window, timelines)
    if not span.duration_s > 0:
        raise InputError("audit: the result lasts no time that is known, so that there are no rates")
    judge = _Judge(slo, hardened, _fixed(span), max(ends))
    before, benefit = judge.values(timelines), judge.benefit(timelines)
    after = {name: judge.values(version) for name, version in versions.items()}
    users = {name: Users.of(judge.benefit(version) - benefit) for name, version in versions.items()}
    rows = tuple(
        Row(m, _shown(m, before[m.key]), {n: _change(m, before[m.key], v[m.key], users[n]) for n, v in after.items()})
        for m in METRICS
    )
    return Audit(rows, users, pace_s, AuditChoices(slo, hardened, (span.start_s, span.end_s), max(ends)))


def _fixed(span: Span) -> Window:
    """The window that gives every version the same requests and the same T."""
    if span.kind == "makespan":
        return Window(kind="makespan", duration_s=span.duration_s)
    return Window(start_s=span.start_s, end_s=span.end_s)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Every metric of a version of the result; NaN where it does not exist."""

    slo: Slo
    user: User
    window: Window
    end_s: float

    def benefit(self, timelines: Timelines) -> np.ndarray:
        """Hardened benefit of each request in the window."""
        counted = resolve(self.window, timelines).counted
        return benefit_tokens(ranges.select(timelines, counted), self.user, end_s=self.end_s)

    def values(self, timelines: Timelines) -> dict[str, float]:
        """Every metric of `METRICS`."""
        counted = ranges.select(timelines, resolve(self.window, timelines).counted)
        return self._latencies(counted) | self._rates(timelines, counted)

    def _latencies(self, counted: Timelines) -> dict[str, float]:
        done = ranges.select(counted, counted.outcome == Outcome.FINISHED)
        ttft, e2e = (
            request_latency.summarise_waits(done, request_latency.ttft_s(done)),
            request_latency.summarise_waits(done, request_latency.e2e_s(done)),
        )
        all_requests = request_latency.summarise_waits(counted, request_latency.ttft_s(counted))
        tpot, tbt = request_latency.summarise_tpot(counted), request_latency.summarise_tbt(counted)
        named = {
            "ttft_p50": ttft["p50"],
            "ttft_p99": ttft["p99"],
            "ttft_p99_all": all_requests["p99"],
            "tpot_mean": tpot["mean"],
            "tbt_p50": tbt["p50"],
            "tbt_p99": tbt["p99"],
            "e2e_p99": e2e["p99"],
            "stalls": request_latency.share_with_gap_over(counted, 0.5),
        }
        return {name: math.nan if value is None else float(value) for name, value in named.items()}

    def _rates(self, timelines: Timelines, counted: Timelines) -> dict[str, float]:
        v, span, done = (
            self.user.seconds_per_token,
            resolve(self.window, timelines),
            counted.outcome == Outcome.FINISHED,
        )
        kept = slos.meets_each(counted, self.slo)
        good = slos.joint(kept)
        tbt = kept.get("tbt_s")
        if tbt is None:
            tbt = slos.meets(counted, Slo(tbt_s=v))
        waste = goodput.mooncake(timelines, self.slo, self.window)["wasted_tokens_per_s"]
        late_s = delivered_lateness_s(counted, self.user)
        n = ranges.n_tokens(counted)
        delivered = float((n - penalty_tokens(late_s, n, done, self.user)).sum())
        first = replace(self.user, anchor="first_token")
        return {
            "throughput": goodput.delivered_tokens_per_s(timelines, span),
            "attainment": _mean(good),
            "attainment_completed": _mean(good[done]),
            "attainment_tbt": _mean(tbt),
            "goodput": goodput.slo_tokens_per_s(timelines, self.slo, self.window),
            "waste": waste,
            "qoe": _mean(qoe(counted, ttft_s=self.slo.ttft_s or v, tokens_per_s=self.user.tokens_per_s)),
            "fluidity": _mean(fluidity_index(counted, prefill_s=self.slo.ttft_s or v, decode_s=self.slo.tbt_s or v)),
            "smooth_uncharged": per_second(delivered, span),
            "smooth_first_token": smooth_goodput_tokens_per_s(timelines, first, self.window, end_s=self.end_s),
            "smooth": smooth_goodput_tokens_per_s(timelines, self.user, self.window, end_s=self.end_s),
        }


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _shown(metric: Kpi, value: float) -> float | None:
    return number(value * metric.factor)


def _change(metric: Kpi, before: float, after: float, users: Users) -> Change:
    if not (math.isfinite(before) and math.isfinite(after)):
        return Change(_shown(metric, after), None, "unknown", False, False)
    change = after - before
    if abs(change) <= metric.margin * max(abs(before), abs(after)):
        return Change(_shown(metric, after), 0.0, "unchanged", False, False)
    improves = change * metric.better > 0
    direction = "up" if change > 0 else "down"
    return Change(
        _shown(metric, after), change * metric.factor, direction, improves, improves and users.gain_tokens <= 0
    )


@dataclass(frozen=True, slots=True)
class Gain:
    """A metric that is better in a claimed result than in its baseline; values in the unit shown."""

    metric: str  #: key
    words: str
    unit: str
    baseline: float
    claimed: float
    share: Mapping[str, float]  #: of the gain, 0 to 1, that each manipulation of the baseline would show

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**values)


def manipulable_share(baseline: Audit, claimed: Audit) -> list[Gain]:
    """How much of each metric's gain, `claimed` over `baseline`, the baseline could show by manipulation alone.

    One for each metric that is better in `claimed`.
    """
    out = []
    for mine, theirs in zip(baseline.rows, claimed.rows, strict=True):
        if mine.as_is is None or theirs.as_is is None:
            continue
        gain = (theirs.as_is - mine.as_is) * mine.metric.better
        if gain <= mine.metric.margin * abs(mine.as_is):
            continue
        shares = {
            name: min(1.0, max(0.0, (change.change or 0.0) * mine.metric.better / gain))
            for name, change in mine.after.items()
        }
        out.append(Gain(mine.metric.key, mine.metric.name, mine.metric.shown_unit, mine.as_is, theirs.as_is, shares))
    return out
