"""What a workload looks like in numbers: rate, burstiness, lengths. Needs no simulation."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.workload.arguments import positive
from llmsim.workload.contract import Workload
from llmsim.workload.prefixes import seen_before

_PARTS = 12  # of a trace's time, as few as a line of a terminal holds


@dataclass(frozen=True, slots=True)
class TokenStats:
    """Distribution of a token count over the requests; percentiles are NumPy's linear ones."""

    mean: float
    p50: float
    p90: float
    p99: float
    max: int
    total: int


@dataclass(frozen=True, slots=True)
class TraceStats:
    """A workload in numbers; None where there are too few requests to tell."""

    source: str
    requests: int
    duration_s: float  #: from the first arrival to the last
    mean_rate_per_s: float | None  #: 1 / mean gap between arrivals
    gap_cv: float | None  #: standard deviation of the gaps / their mean; 1 for Poisson
    peak_rate_per_s: float | None  #: in the busiest bin of `bin_s`, counted from the first arrival
    dispersion: float | None  #: variance / mean of the counts in whole bins of `bin_s`; 1 for Poisson
    bin_s: float
    rates_per_s: list[float] | None  #: in each twelfth of the time from the first arrival to the last
    prompt_tokens: TokenStats
    output_tokens: TokenStats
    infinite_cache_hit_ratio: float | None  #: prompt tokens that earlier requests began with / all; None: not known
    infinite_cache_block_hit_ratio: float | None  #: the same counted in the trace's blocks, cut ones as whole

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers, texts and nested dicts, for JSON."""
        return asdict(self)


def describe(workload: Workload, *, bin_s: float = 60.0) -> TraceStats:
    """Return the numbers of a workload; rates over time are counted in bins of `bin_s` seconds."""
    gaps_s = np.diff(workload.arrival_s)
    mean_gap_s = float(gaps_s.mean()) if len(gaps_s) else 0.0
    duration_s = float(workload.arrival_s[-1] - workload.arrival_s[0])
    counts = arrival_counts(workload, bin_s=bin_s)
    whole_bins = counts[: int(duration_s // bin_s)]
    return TraceStats(
        source=workload.source,
        requests=len(workload),
        duration_s=duration_s,
        mean_rate_per_s=1.0 / mean_gap_s if mean_gap_s > 0 else None,
        gap_cv=float(gaps_s.std()) / mean_gap_s if mean_gap_s > 0 else None,
        peak_rate_per_s=float(counts.max()) / bin_s if len(whole_bins) else None,
        dispersion=float(whole_bins.var(ddof=1) / whole_bins.mean()) if len(whole_bins) > 1 else None,
        bin_s=bin_s,
        rates_per_s=_rates(workload, duration_s),
        prompt_tokens=_token_stats(workload.prompt_tokens),
        output_tokens=_token_stats(workload.output_tokens),
        **_infinite_cache(workload),
    )


def _rates(workload: Workload, duration_s: float) -> list[float] | None:
    if duration_s == 0:
        return None
    counts, _ = np.histogram(workload.arrival_s, bins=_PARTS)
    return [float(rate) for rate in counts * _PARTS / duration_s]


def _infinite_cache(workload: Workload) -> dict[str, float | None]:
    """Count what a cache without limits would hold when each request comes, had those before it ended."""
    tokens = blocks = None
    prefixes = workload.prefixes
    if prefixes is not None and len(prefixes.ids):
        seen = seen_before(prefixes)
        begins = np.zeros(len(seen), dtype=np.int64)
        inner = np.ones(len(seen), dtype=np.bool_)
        inner[prefixes.start[:-1][np.diff(prefixes.start) > 0]] = False
        begins[inner] = prefixes.ends[np.flatnonzero(inner) - 1]
        of_prompt = np.repeat(workload.prompt_tokens, np.diff(prefixes.start))
        found = np.minimum(prefixes.ends, of_prompt) - np.minimum(begins, of_prompt)
        tokens = float(found[seen].sum() / workload.prompt_tokens.sum())
        blocks = float(seen.mean())
    return {"infinite_cache_hit_ratio": tokens, "infinite_cache_block_hit_ratio": blocks}


def arrival_counts(workload: Workload, *, bin_s: float) -> NDArray[np.int64]:
    """Return how many requests arrive in each bin of `bin_s` seconds from the first arrival, shape (bins,).

    Bin i covers first + [i * bin_s, (i + 1) * bin_s); the last may be cut short by the workload's end.
    """
    since_first_s = workload.arrival_s - workload.arrival_s[0]
    return np.bincount((since_first_s // positive("bin_s", bin_s)).astype(np.int64))


def _token_stats(tokens: NDArray[np.int64]) -> TokenStats:
    p50, p90, p99 = (float(p) for p in np.percentile(tokens, [50, 90, 99]))
    return TokenStats(float(tokens.mean()), p50, p90, p99, int(tokens.max()), int(tokens.sum()))
