"""A [workload] table that resembles a trace: gamma gaps, and lognormal lengths in classes, of its own moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.contract import Workload

MOST_CLASSES = 4  #: that are tried
CLOSE = 0.05  #: a distance of both lengths' distributions that needs no further class
FAR = 0.25  #: a distance from which on a fit no longer resembles what it was fitted to
_LEAST = 1e-3  # a variation of 0 has no gamma or lognormal distribution
_DRAWN = 20_000  # lengths, to hold a choice of classes against the trace
_ROUNDS = 50  # of moving the classes' centres
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LengthsFit:
    """Moments of the lengths of some requests: means, coefficients of variation (CV), and largest ones."""

    share: float  #: of all requests
    prompt_mean_tokens: float
    prompt_cv: float
    prompt_max_tokens: int
    output_mean_tokens: float
    output_cv: float
    output_max_tokens: int

    @classmethod
    def of(cls, prompt_tokens: Ints, output_tokens: Ints, requests: int) -> LengthsFit:
        """Match the first two moments of these, of so many requests in all."""
        moments = [(float(tokens.mean()), _cv(tokens), int(tokens.max())) for tokens in (prompt_tokens, output_tokens)]
        return cls(len(prompt_tokens) / requests, *moments[0], *moments[1])

    def to_toml(self) -> str:
        """Return the inline table of `lengths = lognormal`."""
        keys = [f"{part}_{of}" for part in ("prompt", "output") for of in ("mean_tokens", "cv", "max_tokens")]
        return f'{{ source = "lognormal", {", ".join(f"{key} = {_number(getattr(self, key))}" for key in keys)} }}'

    def draw(self, rng: np.random.Generator, requests: int) -> tuple[Floats, Floats]:
        """Draw lengths, as the table's source does but for rounding."""
        columns = []
        for mean, cv, most in (
            (self.prompt_mean_tokens, self.prompt_cv, self.prompt_max_tokens),
            (self.output_mean_tokens, self.output_cv, self.output_max_tokens),
        ):
            sigma2 = np.log1p(cv**2)
            drawn = rng.lognormal(np.log(mean) - sigma2 / 2, np.sqrt(sigma2), requests)
            columns.append(np.clip(drawn, 1, most))
        return columns[0], columns[1]


@dataclass(frozen=True, slots=True)
class Fit:
    """What a table that resembles a trace says."""

    requests: int
    rate_per_s: float
    gap_cv: float
    lengths: LengthsFit  #: of all requests
    classes: tuple[LengthsFit, ...]  #: of each class, by rising prompts; one alone is `lengths`

    def to_toml(self) -> str:
        """Return the [workload] table: keys of `arrivals = gamma` and `lengths = lognormal`."""
        lines = [
            "[workload]",
            f"requests = {self.requests}",
            f'arrivals = {{ process = "gamma", rate_per_s = {self.rate_per_s:.6g}, '
            f"burstiness = {self.gap_cv**-2:.6g} }}",
            f"lengths = {self.lengths.to_toml()}",
        ]
        if len(self.classes) > 1:
            for number, one in enumerate(self.classes, start=1):
                name = f'name = "class {number}"'
                lines += ["", "[[workload.classes]]", name, f"weight = {one.share:.6g}", f"lengths = {one.to_toml()}"]
        return "\n".join(lines) + "\n"


def fit(workload: Workload, classes: int | None = None) -> Fit:
    """Match the first two moments of gaps, and of lengths in so many classes; InputError if there are no gaps.

    Left out, there are as few classes as bring the drawn lengths within `CLOSE` of the trace's, up to `MOST_CLASSES`.
    Classes are requests whose logarithms of prompt and output are near each other (k-means).
    """
    gaps_s = np.diff(workload.arrival_s)
    if len(gaps_s) == 0 or gaps_s.mean() == 0:
        raise InputError(f"{workload.source}: all requests arrive at once, so there is no rate to fit")
    prompts, outputs, n = workload.prompt_tokens, workload.output_tokens, len(workload)
    numbers = range(1, MOST_CLASSES + 1) if classes is None else (classes,)
    best: tuple[float, tuple[LengthsFit, ...]] | None = None
    for number in numbers:
        of = _alike(np.log(np.stack([prompts, outputs], axis=1)), number)
        parts = tuple(LengthsFit.of(prompts[of == one], outputs[of == one], n) for one in np.unique(of))
        parts = tuple(sorted(parts, key=lambda part: part.prompt_mean_tokens))
        away = _away(workload, parts)
        if best is None or away < best[0]:
            best = away, parts
        if away <= CLOSE:
            break
    assert best is not None
    whole = LengthsFit.of(prompts, outputs, n)
    return Fit(n, 1.0 / float(gaps_s.mean()), _cv(gaps_s), whole, best[1])


def _alike(points: Floats, classes: int) -> Ints:
    """The class of each point, (n,), from 0: those nearest to one of so many centres, which are their means."""
    order = np.argsort(points.sum(axis=1), kind="stable")
    centres = np.array([points[part].mean(axis=0) for part in np.array_split(order, classes) if len(part)])
    of = np.zeros(len(points), dtype=np.int64)
    for _ in range(_ROUNDS):
        of = np.argmin(((points[:, None, :] - centres[None]) ** 2).sum(axis=2), axis=1)
        moved = np.array([points[of == k].mean(axis=0) if (of == k).any() else c for k, c in enumerate(centres)])
        if np.allclose(moved, centres):
            break
        centres = moved
    return of


def _away(workload: Workload, parts: Sequence[LengthsFit]) -> float:
    """How far the distributions of lengths that the parts draw are from the trace's: the larger of the two."""
    rng = np.random.default_rng(0)
    drawn = [part.draw(rng, max(1, round(part.share * _DRAWN))) for part in parts]
    columns = [np.concatenate(column) for column in zip(*drawn, strict=True)]
    given = (workload.prompt_tokens, workload.output_tokens)
    return max(distance(one, np.floor(other)) for one, other in zip(given, columns, strict=True))


def distance(one: NDArray[np.number], other: NDArray[np.number]) -> float:
    """Largest difference between two samples' distribution functions (Kolmogorov and Smirnov), 0 to 1."""
    both = np.sort(np.concatenate([one, other]))
    shares = [np.searchsorted(np.sort(each), both, side="right") / len(each) for each in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _cv(values: NDArray[np.number]) -> float:
    return max(float(values.std() / values.mean()), _LEAST)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"
