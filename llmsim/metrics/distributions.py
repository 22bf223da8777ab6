"""What a run keeps beside its score: how its latencies are distributed and hang together, to pool runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

import numpy as np

from llmsim.metrics import request_latency, slo
from llmsim.metrics.catalogue import find_kpi
from llmsim.metrics.scored import Requests
from llmsim.record import Floats
from llmsim.statistics import Interval
from llmsim.statistics.samples import TAILS, Sample, mean_of_runs, quantile, sample_of, size_together
from llmsim.statistics.shares import Clusters, Share, share, share_of

#: quantile by the name of its statistic, for those that are inverted shares
TAIL_NAMES = {f"p{100 * q:g}": q for q in TAILS}


@dataclass(frozen=True, slots=True, eq=False)
class Distributions:
    """The latencies of one run's requests that count, and which of them met the SLO."""

    latencies: Mapping[str, Sample]  #: by the key of their summary; those that every request has
    attainment: Share | None  #: None without an SLO

    @classmethod
    def of(cls, requests: Requests) -> Self:
        """Measure; in order of arrival."""
        timelines = requests.counted
        order = np.argsort(timelines.arrival_s, kind="stable")
        values_s: dict[str, Floats] = {
            "ttft_s": request_latency.ttft_s(timelines),
            "tpot_s": request_latency.tpot_s(timelines),
            "e2e_s": request_latency.e2e_s(timelines),
        }
        if requests.first_scheduled_s is not None:
            values_s["queueing_s"] = request_latency.queueing_s(timelines, requests.first_scheduled_s)
        values_s["tpot_s"] = values_s["tpot_s"][order][~np.isnan(values_s["tpot_s"][order])]
        for name in values_s.keys() - {"tpot_s"}:
            values_s[name] = values_s[name][order]
        samples = {name: sample_of(values) for name, values in values_s.items() if not np.isnan(values).any()}
        met = None if requests.slo is None or not len(timelines) else slo.meets(timelines, requests.slo)[order]
        found = {name: sample for name, sample in samples.items() if sample is not None}
        return cls(found, None if met is None else share_of(met))

    @property
    def effective(self) -> float:
        """Effective sample size of the latency that has the least; 0 without any."""
        return min((sample.effective for sample in self.latencies.values()), default=0.0)

    def largest_of_the_worst(self, names: Iterable[str]) -> int:
        """The largest cluster of the worst 1 % of requests by these latencies; 1 without any.

        So large a cluster of requests that miss a bound may be, though no run has seen it.
        """
        known = (self.latencies[name].beyond[max(TAILS)].largest for name in names if name in self.latencies)
        return max(known, default=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, as `from_dict` reads them."""
        met = self.attainment
        return {
            "latencies": {name: sample.to_dict() for name, sample in self.latencies.items()},
            "attainment": None if met is None else [list(astuple(met.missed)), list(astuple(met.met))],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; KeyError, TypeError or ValueError for anything else."""
        met = values["attainment"]
        return cls(
            {name: Sample.from_dict(one) for name, one in values["latencies"].items()},
            None if met is None else Share(*(Clusters(*counts) for counts in met)),
        )


def interval(key: str, values: Sequence[float], runs: Sequence[Distributions]) -> Interval:
    """Interval of a number of a score over runs, one value each; not bounded where they are too few or too short.

    Attainment: clusters of misses. P90 and P99 of latencies: shares inverted. Others: Student's t over runs, corrected
    for their skewness, where these are long enough. The one place that decides how sure a number is.
    """
    kpi = find_kpi(key)
    tail = 0 if kpi is None else -kpi.better
    if len(runs) < len(values):  # an earlier version, or a killed sweep, has kept nothing to say how sure
        return mean_of_runs(values, 0.0, tail)
    of_a_run = size_together([run.effective for run in runs])
    if key == "slo.attainment" and all(run.attainment is not None for run in runs):
        return share([run.attainment for run in runs if run.attainment is not None], len(runs) * of_a_run)
    table, _, statistic = key.rpartition(".")
    samples = [run.latencies[table] for run in runs if table in run.latencies]
    if len(samples) == len(runs) > 0:
        if statistic in TAIL_NAMES and len(runs) > 1:
            return quantile(samples, TAIL_NAMES[statistic])
        of_a_run = size_together([sample.effective for sample in samples])
    found = mean_of_runs(values, of_a_run, tail)
    return found.within(0.0, 1.0) if kpi is not None and kpi.kind == "share" else found
