"""Targets: comparisons like ``ttft_s.p99 <= 0.5`` on the numbers of a run, under the names that its score has."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from llmsim.errors import InputError, nearest
from llmsim.metrics import request_latency
from llmsim.metrics.catalogue import find_kpi, kpi_of, of_section, sections, summaries
from llmsim.metrics.distributions import Distributions
from llmsim.metrics.gaps import Gaps
from llmsim.metrics.kpi import MORE, Kpi, OfRequests
from llmsim.metrics.moved_bounds import MovedBounds, of_slo
from llmsim.metrics.score import Score
from llmsim.metrics.scored import Requests
from llmsim.metrics.sections.latencies import Latencies
from llmsim.metrics.sections.other_forms import WITHOUT_SLO, OtherForms, is_form, lacking_bound
from llmsim.metrics.slo import GRACE_S, joint, meets_each
from llmsim.metrics.stage_slo import meets_stages
from llmsim.metrics.summary import STATISTICS
from llmsim.record import Floats, Timelines
from llmsim.slo import Slo
from llmsim.statistics import Interval, mean, probability_at_least
from llmsim.statistics.intervals import LEVEL
from llmsim.statistics.percentiles import percentiles_of
from llmsim.statistics.shares import Clusters, clusters_of, probability_at_most, rare

#: share of requests whose stages are all in time; as it is of single requests, it is measured with the misses
STAGES = "forms.slos_serve_attainment"


@cache
def latency_keys() -> frozenset[str]:
    """Latencies of requests, of which a target may ask for the mean or any percentile."""
    return frozenset(kpi.key for kpi in summaries() if kpi.kind == "latency" and kpi.key in Latencies.__slots__)


@cache
def number_keys() -> tuple[str, ...]:
    """Shares and rates of requests, and the forms of other papers, of which a target may ask."""
    kpis = (kpi for section in sections() if issubclass(section, OfRequests) for kpi in of_section(section))
    rates = [kpi.key for kpi in kpis if kpi.kind in ("share", "rate") and kpi.better == MORE]
    return (*rates, *(kpi.key for kpi in of_section(OtherForms) if kpi.kind != "test"))


_TARGET = re.compile(r"^\s*([\w.]+)\s*(<=|>=)\s*(\S+)\s*$")
_PERCENTILE = re.compile(r"^p(\d{1,2}(?:\.\d+)?)$")


@dataclass(frozen=True, slots=True)
class Target:
    """A number of a run and its bound."""

    metric: str
    at_least: bool  #: False: at most
    bound: float

    @property
    def most_missing(self) -> float | None:
        """Share of requests that may miss it: of an attainment, and of a latency's percentile; None for others."""
        table, _, number = self.metric.partition(".")
        if self.metric == STAGES or (table == "slo" and number.startswith("attainment")):
            return 1 - self.bound
        share = _percentile(number) if table in latency_keys() and table != "tbt_s" else None
        return None if share is None else 1 - share / 100

    @property
    def of_slo(self) -> bool:
        """Whether it rests on the bounds of the SLO."""
        table, _, number = self.metric.partition(".")
        return table == "slo" or (is_form(self.metric) and number not in WITHOUT_SLO)

    def probability(self, values: Floats, missed: Sequence[Clusters]) -> tuple[float, float]:
        """How probable it is that the target is kept, at least and at most, from one value a run, (n,).

        Attainments and percentiles by the requests that miss, in clusters (`statistics.shares`): `missed`, one a run.
        Others by the t distribution of the mean over runs. 0 if a value is not finite: a percentile that was not
        reached.
        """
        if not np.isfinite(values).all():
            return 0.0, 0.0
        most = self.most_missing
        if most is not None and len(missed) == len(values):
            return probability_at_most(missed, most)
        sign = 1.0 if self.at_least else -1.0
        by_runs = probability_at_least(sign * values, sign * self.bound)
        return by_runs, by_runs

    def interval(self, values: Floats, missed: Sequence[Clusters]) -> Interval:
        """The mean over runs, (n,), and how sure it is: of an attainment by its misses, as `probability` has them.

        Not bounded where few requests miss, and for a percentile: how runs differ does not say how sure either is.
        """
        if self.most_missing is None or len(missed) != len(values):
            return mean(values)
        share = float(values.mean())
        ends = rare(missed) if self.at_least and share > 0.5 else None
        low, high = (1 - ends[1], 1 - ends[0]) if ends else (-math.inf, math.inf)
        return Interval(share, low, high, LEVEL, len(values))

    def kept(self, value: float) -> bool:
        """Whether a value keeps the bound; what was not reached does not."""
        return math.isfinite(value) and (value >= self.bound if self.at_least else value <= self.bound)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, what follows from the bound among them."""
        return {
            "metric": self.metric,
            "at_least": self.at_least,
            "bound": self.bound,
            "most_missing": self.most_missing,
            "of_slo": self.of_slo,
        }

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {self.bound:g}"


def parse_target(text: str, where: str, slo: Slo) -> Target:
    """Read a target; InputError, led by `where`, with the nearest right name, or for a bound that the SLO lacks."""
    found = _TARGET.match(text)
    if not found:
        raise InputError(f"{where}{text!r}: expected a comparison such as ttft_s.p99 <= 0.5 (with <= or >=)")
    metric, sign, bound = found.groups()
    table, _, number = metric.partition(".")
    if table in latency_keys():
        if number != "mean" and not _percentile(number):
            raise InputError(f"{where}{metric}: expected {table}.mean or a percentile such as {table}.p99")
    elif find_kpi(metric) in _tests():
        name = number.removesuffix("_holds").replace("_", "-")
        raise InputError(f"{where}{metric}: holds of one run or not; expected the targets of plan --as {name}")
    elif metric not in number_keys():
        known = [*number_keys(), *(f"{name}.{part}" for name in sorted(latency_keys()) for part in STATISTICS)]
        raise InputError(f"{where}unknown metric {metric}{nearest(metric, known)}")
    elif table == "slo" and "by_bound" in metric and getattr(slo, metric.rpartition(".")[2]) is None:
        raise InputError(f"{where}{metric}: [slo] has no such bound")
    elif why := lacking_bound(metric, slo):
        raise InputError(f"{where}{metric}: {why}")
    try:
        value = float(bound)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}{text!r}: {bound} is no number to compare with")
    _check_reach(text, where, Target(metric, sign == ">=", value))
    return Target(metric, sign == ">=", value)


def _check_reach(text: str, where: str, target: Target) -> None:
    """Refuse what every cluster meets, or none: searches would run for minutes to say so."""
    at_least = target.metric in number_keys() and kpi_of(target.metric).better == MORE
    if target.at_least != at_least:
        better, sign = ("more", ">=") if at_least else ("less", "<=")
        raise InputError(f"{where}{text!r}: {better} of it is better; expected {target.metric} {sign} {target.bound:g}")
    if target.bound < 0:
        raise InputError(f"{where}{text!r}: {target.bound:g} is below 0; expected a bound from 0")
    if target.metric.startswith(("slo.attainment", STAGES)) and target.bound > 1:
        raise InputError(f"{where}{text!r}: an attainment is a share; expected a bound from 0 to 1, such as 0.99")
    of_runs = is_form(target.metric) and target.most_missing is None
    if of_runs and kpi_of(target.metric).kind in ("share", "ratio") and target.bound >= 1:
        raise InputError(
            f"{where}{text!r}: it is at most 1, which no number of runs shows of others; expected a bound below 1"
        )


def _tests() -> tuple[Kpi, ...]:
    return tuple(kpi for kpi in of_section(OtherForms) if kpi.kind == "test")


def _percentile(number: str) -> float | None:
    found = _PERCENTILE.match(number)
    return float(found[1]) if found and 0 < float(found[1]) < 100 else None


def missed_by(target: Target, asked: Requests, kept: Distributions) -> Clusters | None:
    """The requests that miss a target, in clusters by their arrival; None for one that is not of single requests.

    `kept` are the distributions of their latencies.
    """
    if target.most_missing is None:
        return None
    timelines = asked.counted
    table, _, number = target.metric.partition(".")
    if target.metric == STAGES:
        assert asked.slo is not None
        met = meets_stages(timelines, asked.slo)
    elif table == "slo":
        assert asked.slo is not None
        each = meets_each(timelines, asked.slo)
        bound = number.partition(".")[2]
        met = each[bound] if bound else joint(each)
    else:
        met = _waits_s(table, asked) <= target.bound + GRACE_S
    found = clusters_of(~met[np.argsort(timelines.arrival_s, kind="stable")])
    names = {table} if table in latency_keys() or asked.slo is None else {"ttft_s", *asked.slo.given()}
    return replace(found, largest=max(found.largest, kept.largest_of_the_worst(names)))


def missed_at_other_bounds(target: Target, asked: Requests, kept: Distributions) -> MovedBounds | None:
    """The requests that would miss a target of other bounds: of the SLO for an attainment, of the target for a latency.

    None for a target that is not of single requests, and where there is nothing to move.
    """
    if target.metric == STAGES:  # by a rule of its own, for these bounds
        return MovedBounds({}, (missed_by(target, asked, kept),))
    if target.most_missing is None:
        return None
    table, _, number = target.metric.partition(".")
    if table == "slo":
        return of_slo(asked, kept, number.partition(".")[2] or None)
    if target.bound <= 0:
        return None
    order = np.argsort(asked.counted.arrival_s, kind="stable")
    waits_s, unseen = _waits_s(table, asked)[order], kept.largest_of_the_worst({table})
    return MovedBounds.of({target.metric: waits_s}, {target.metric: target.bound}, unseen)


def _waits_s(table: str, asked: Requests) -> Floats:
    """A latency of each request, (N,): inf for what never came, and misses; but one token has no time per token."""
    waits_s = latencies_s(table, asked.counted, asked.first_scheduled_s)
    return np.nan_to_num(waits_s, nan=0.0 if table == "tpot_s" else np.inf, posinf=np.inf)


def latencies_s(table: str, timelines: Timelines, first_scheduled_s: Floats | None) -> Floats:
    """A latency of each request, (N,), NaN where it has none."""
    if table == "queueing_s":
        assert first_scheduled_s is not None
        return request_latency.queueing_s(timelines, first_scheduled_s)
    waits_s: Floats = getattr(request_latency, table)(timelines)
    return waits_s


def value(metric: str, score: Score, delivered: Timelines, first_scheduled_s: Floats) -> float:
    """Return a metric of a run: from its score, or, for another percentile, from those requests that it counts.

    `delivered` and `first_scheduled_s` are those of the counted requests. inf where more requests than the percentile
    leaves out never got what it measures.
    """
    table, _, number = metric.partition(".")
    if metric in number_keys() or number in STATISTICS:
        found: float | None = score[metric]
        return math.inf if found is None else float(found)
    share = _percentile(number)
    assert share is not None
    if table == "tbt_s":
        return percentiles_of(Gaps(delivered).population, [share])[0]
    waits_s = latencies_s(table, delivered, first_scheduled_s)
    if table == "tpot_s":  # one token or none: no time per token
        waits_s = waits_s[~np.isnan(waits_s)]
    waits_s = np.where(np.isnan(waits_s), np.inf, waits_s)
    if not len(waits_s):
        return math.inf
    if np.isfinite(waits_s).all():
        return float(np.percentile(waits_s, share))
    return float(np.percentile(waits_s, share, method="higher"))  # nothing lies between a number and infinity
