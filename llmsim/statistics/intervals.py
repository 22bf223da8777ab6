"""Confidence intervals, each by the method that its kind of number asks for.

Means over replications: Student's t. Differences under common random numbers: t of the pairs. Anything else over
replications: bootstrap. Quantiles of one sample: order statistics. Shares of requests: exact binomial. SciPy has the
distributions; it is loaded when the first interval is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmsim.errors import InputError

Floats = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its two-sided interval; infinite where `n` values are too few to bound it."""

    estimate: float
    low: float
    high: float
    level: float  #: probability with which such intervals cover the truth
    n: int  #: independent values that it rests on

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    @property
    def positive(self) -> bool:
        """The whole interval lies above 0."""
        return self.low > 0

    @property
    def negative(self) -> bool:
        """The whole interval lies below 0."""
        return self.high < 0

    def covers(self, value: float) -> bool:
        """Whether a value lies in the interval, its ends included."""
        return self.low <= value <= self.high

    @property
    def bounded(self) -> bool:
        """Whether both ends are numbers: else too few values, or too short runs, stand behind it."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def unbounded(self) -> Interval:
        """The estimate, with nothing said of how sure it is."""
        return Interval(self.estimate, -math.inf, math.inf, self.level, self.n)

    def within(self, least: float, most: float) -> Interval:
        """The same of a number that cannot be less or more than these; not bounded ends stay so."""
        if not self.bounded:
            return self
        return Interval(self.estimate, max(self.low, least), min(self.high, most), self.level, self.n)

    def times(self, factor: float) -> Interval:
        """The same in another unit; `factor` above 0."""
        return Interval(factor * self.estimate, factor * self.low, factor * self.high, self.level, self.n)

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain numbers for JSON; None for an end that is not bounded."""
        ends = {name: _number(getattr(self, name)) for name in ("estimate", "low", "high")}
        return {**ends, "level": self.level, "n": self.n}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; KeyError for anything else."""
        low = -math.inf if values["low"] is None else values["low"]
        high = math.inf if values["high"] is None else values["high"]
        return cls(values["estimate"], low, high, values["level"], values["n"])

    def __str__(self) -> str:
        return f"{self.estimate:.4g} ({self.low:.4g} to {self.high:.4g})"


def mean(values: ArrayLike, level: float = LEVEL) -> Interval:
    """Mean of independent values, one a replication, (n,), by Student's t; not bounded for n = 1.

    Raises InputError without values, for values that are not finite, and for a level outside 0 to 1.
    """
    sample = _sample(values, level)
    n, estimate = len(sample), float(sample.mean())
    if n == 1:
        return Interval(estimate, -math.inf, math.inf, level, n)
    half = student_t((1 + level) / 2, n - 1) * float(sample.std(ddof=1)) / math.sqrt(n)
    return Interval(estimate, estimate - half, estimate + half, level, n)


def skewed_mean(values: ArrayLike, skewness: float, level: float = LEVEL) -> Interval:
    """Mean of independent values, (n,), of a distribution whose skewness is known: Student's t, corrected.

    Of values skewed to the right a low mean comes with a small spread, so that plain t would end too low: the interval
    moves by Cornish and Fisher's first term (Johnson 1978). And spread is known less well than that of normal values:
    degrees of freedom by the kurtosis of a gamma distribution, 3/2 of the squared skewness. Not bounded for n = 1.
    Raises InputError like `mean`.
    """
    found = mean(values, level)
    if skewness == 0 or not found.bounded:
        return found
    n, probability = found.n, (1 + level) / 2
    degrees = (n - 1) / (1 + 0.75 * skewness**2 * (n - 1) / n)
    spread = float(np.std(np.asarray(values), ddof=1))
    half = student_t(probability, degrees) * spread / math.sqrt(n)
    moved = found.estimate + spread * skewness * (1 + 2 * normal(probability) ** 2) / (6 * n)
    return Interval(found.estimate, moved - half, moved + half, level, n)


def paired_difference(one: ArrayLike, other: ArrayLike, level: float = LEVEL) -> Interval:
    """Mean of other - one, (n,) each, pair by pair: replications that share their random numbers.

    Raises InputError like `mean`, and for samples of different size.
    """
    first, second = _sample(one, level), _sample(other, level)
    if len(first) != len(second):
        raise InputError(f"{len(first)} and {len(second)} values: expected pairs")
    return mean(second - first, level)


def bootstrap(
    values: ArrayLike,
    statistic: Callable[..., Any] = np.mean,
    level: float = LEVEL,
    *,
    resamples: int = 2000,
    seed: int = 0,
    method: Literal["BCa", "percentile"] = "BCa",
) -> Interval:
    """Any statistic of independent values, (n,): bias-corrected and accelerated bootstrap (Efron 1987), or percentile.

    `statistic` takes an array and `axis`, as NumPy's do. Not bounded for n < 3; no width where all values are equal.
    """
    sample = _sample(values, level)
    n, estimate = len(sample), float(statistic(sample, axis=-1))
    if n < 3:
        return Interval(estimate, -math.inf, math.inf, level, n)
    if np.ptp(sample) == 0:
        return Interval(estimate, estimate, estimate, level, n)
    from scipy import stats

    ends = stats.bootstrap(
        (sample,),
        statistic,
        confidence_level=level,
        n_resamples=resamples,
        method=method,
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(estimate, float(ends.low), float(ends.high), level, n)


def quantile(values: ArrayLike, share: float, level: float = LEVEL) -> Interval:
    """The quantile below which `share` of a distribution lies, from independent values, (n,): order statistics.

    The ends are the closest values of which the binomial distribution says that they hold it with at least `level`
    (Conover 1999, 3.2), whatever the distribution is; an end that no value is extreme enough for is infinite. 99 %
    of a quantile of 0.99 needs hundreds of values.
    """
    sample = np.sort(_sample(values, level))
    if not 0 < share < 1:
        raise InputError(f"quantile {share}: expected a share between 0 and 1")
    from scipy import stats

    n, tail = len(sample), (1 - level) / 2
    below = int(stats.binom.ppf(tail, n, share))  # values certainly (1 - tail) left of the quantile
    above = int(stats.binom.ppf(1 - tail, n, share)) + 1
    low = float(sample[below - 1]) if below >= 1 else -math.inf
    high = float(sample[above - 1]) if above <= n else math.inf
    return Interval(float(np.quantile(sample, share)), low, high, level, n)


def probability_at_least(values: ArrayLike, bound: float) -> float:
    """How probable it is that the mean behind independent values, (n,), is at least `bound`.

    The t distribution around their mean: the one-sided confidence, which is the posterior probability under the usual
    vague prior. 1 or 0 where all values are equal; 0.5 for a single value, which says nothing of its own spread.
    """
    sample = _sample(values, LEVEL)
    n, above = len(sample), float(sample.mean()) - bound
    if n == 1:
        return 0.5
    error = float(sample.std(ddof=1)) / math.sqrt(n)
    if error == 0:
        return 1.0 if above >= 0 else 0.0
    from scipy import special

    return float(special.stdtr(n - 1, above / error))


def student_t(probability: float, degrees: float) -> float:
    """Quantile of Student's t."""
    from scipy import special

    return float(special.stdtrit(degrees, probability))


def normal(probability: float) -> float:
    """Quantile of the standard normal distribution."""
    from scipy import special

    return float(special.ndtri(probability))


def _sample(values: ArrayLike, level: float) -> Floats:
    _check_level(level)
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) == 0:
        raise InputError(f"{sample.size} values: expected a list of at least one")
    if not np.isfinite(sample).all():
        raise InputError("an interval needs finite values")
    return sample


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"level {level}: expected a probability between 0 and 1, such as {LEVEL}")


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
