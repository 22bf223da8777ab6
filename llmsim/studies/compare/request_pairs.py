"""Which requests pay and which gain: the same request on both sides, and classes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llmsim import experiment
from llmsim.metrics import ranges, request_latency
from llmsim.metrics.smooth_goodput import benefit_tokens
from llmsim.metrics.window import resolve
from llmsim.record import Floats, Ints
from llmsim.request import Outcome
from llmsim.statistics import Interval, mean
from llmsim.statistics.intervals import LEVEL
from llmsim.studies.compare.side_runs import Run

#: a request pays or gains if its last token comes later or earlier by more than this share of its time on the first
#: side: less is no more than another order of the same steps
NOTICEABLE_SHARE = 0.01
LENGTH_GROUPS = 4
ARRIVAL_PERIODS = 4
ALL, PROMPT, OUTPUT, ARRIVAL, OUTCOME = "all", "prompt_tokens", "output_tokens", "arrival", "outcome"


#: of a table of pairs of requests, (R,) each
Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Pair:
    """The R requests of the window of one seed, on both sides; changes are other - first."""

    seed: int
    request: Ints  #: (R,) id
    arrival_s: Floats  #: on the first side
    prompt_tokens: Ints
    output_tokens: Ints
    outcome: tuple[NDArray[np.int8], NDArray[np.int8]]  #: on the first side and on the other
    e2e_s: tuple[Floats, Floats]  #: NaN for requests that did not finish
    ttft_change_s: Floats  #: NaN where either side has no first token
    e2e_change_s: Floats  #: NaN where either side did not finish it
    benefit_change_tokens: Floats  #: of smooth goodput, both charged until the common end

    @property
    def verdict(self) -> Ints:
        """1: gains, -1: pays, 0: neither. Finished on one side only decides it, else the last token's time."""
        done = [(outcome == Outcome.FINISHED).astype(np.int64) for outcome in self.outcome]
        sooner = -np.sign(self.e2e_change_s) * (np.abs(self.e2e_change_s) > NOTICEABLE_SHARE * self.e2e_s[0])
        return np.asarray(np.where(done[0] & done[1], np.nan_to_num(sooner), done[1] - done[0]), dtype=np.int64)

    def columns(self) -> Columns:
        """The pair as columns of a table, outcomes in words."""
        names = np.array([outcome.name.lower() for outcome in Outcome])
        return {
            "seed": np.full(len(self.request), self.seed),
            "request": self.request,
            "arrival_s": self.arrival_s,
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "outcome_first": names[self.outcome[0]],
            "outcome_other": names[self.outcome[1]],
            "e2e_first_s": self.e2e_s[0],
            "e2e_other_s": self.e2e_s[1],
            "ttft_change_s": self.ttft_change_s,
            "e2e_change_s": self.e2e_change_s,
            "benefit_change_tokens": self.benefit_change_tokens,
            "gains": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Requests of one class, over all seeds; intervals over seeds, None where a seed has none to compare."""

    kind: str  #: `ALL`, `PROMPT`, `OUTPUT`, `ARRIVAL` or `OUTCOME`
    words: str
    requests: int
    gain: float  #: share that gains
    pay: float  #: share that pays
    ttft_change_s: Interval | None
    e2e_change_s: Interval | None
    benefit_change_tokens: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        plain = {name: getattr(self, name) for name in ("kind", "words", "requests", "gain", "pay")}
        changes = {name: getattr(self, name) for name in ("ttft_change_s", "e2e_change_s", "benefit_change_tokens")}
        return {**plain, **{name: None if one is None else one.to_dict() for name, one in changes.items()}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; KeyError for anything else."""
        plain = (values[name] for name in ("kind", "words", "requests", "gain", "pay"))
        changes = (values[name] for name in ("ttft_change_s", "e2e_change_s", "benefit_change_tokens"))
        return cls(*plain, *(None if one is None else Interval.from_dict(one) for one in changes))


def pair(first: Run, other: Run) -> Pair:
    """Put the requests that count on the first side beside the same ones on the other side."""
    counted = resolve(experiment.make_window(first.scenario), first.delivered).counted
    mine, theirs = (ranges.select(run.delivered, counted) for run in (first, other))
    benefits = [
        benefit_tokens(times, experiment.make_user(run.scenario), end_s=run.end_s)
        for times, run in ((mine, first), (theirs, other))
    ]
    e2e_s = request_latency.e2e_s(mine), request_latency.e2e_s(theirs)
    return Pair(
        seed=first.scenario.seed,
        request=np.flatnonzero(counted),
        arrival_s=mine.arrival_s,
        prompt_tokens=mine.prompt_tokens,
        output_tokens=mine.output_tokens,
        outcome=(mine.outcome, theirs.outcome),
        e2e_s=e2e_s,
        ttft_change_s=request_latency.ttft_s(theirs) - request_latency.ttft_s(mine),
        e2e_change_s=e2e_s[1] - e2e_s[0],
        benefit_change_tokens=benefits[1] - benefits[0],
    )


def groups(pairs: Sequence[Pair], level: float = LEVEL) -> list[Group]:
    """Classes of the requests of all seeds: all, by quarter of the lengths, by arrival, by how they ended."""
    members = {ALL: [(ALL, [np.ones(len(one.request), np.bool_) for one in pairs])]}
    members[PROMPT] = list(_by_length([one.prompt_tokens for one in pairs]))
    members[OUTPUT] = list(_by_length([one.output_tokens for one in pairs]))
    members[ARRIVAL] = list(_by_arrival(pairs))
    members[OUTCOME] = list(_by_outcome(pairs))
    return [_group(kind, words, pairs, masks, level) for kind in members for words, masks in members[kind]]


Masks = list[NDArray[np.bool_]]


def _by_length(lengths: Sequence[Ints]) -> Iterator[tuple[str, Masks]]:
    """Quarters of all lengths; fewer classes where many are equal."""
    pooled = np.concatenate(lengths)
    edges = np.unique(np.quantile(pooled, np.arange(1, LENGTH_GROUPS + 1) / LENGTH_GROUPS, method="higher"))
    below = int(pooled.min()) - 1
    for edge in edges.tolist():
        words = f"{edge:,}" if below + 1 == edge else f"{below + 1:,} to {edge:,}"
        yield words, [(one > below) & (one <= edge) for one in lengths]
        below = edge


def _by_arrival(pairs: Sequence[Pair]) -> Iterator[tuple[str, Masks]]:
    """Equal parts of the requests of each seed, in order of arrival."""
    parts = [np.arange(len(one.request)) * ARRIVAL_PERIODS // len(one.request) for one in pairs]
    for i, words in enumerate(("first quarter", "second", "third", "last")):
        yield words, [part == i for part in parts]


def _by_outcome(pairs: Sequence[Pair]) -> Iterator[tuple[str, Masks]]:
    """By how requests ended on the first side and on the other; only what occurs."""
    for mine in Outcome:
        for theirs in Outcome:
            masks = [(one.outcome[0] == mine) & (one.outcome[1] == theirs) for one in pairs]
            if any(mask.any() for mask in masks):
                now, then = mine.name.lower(), theirs.name.lower()
                yield (f"{now} in both" if mine == theirs else f"{now}, then {then}"), masks


def _group(kind: str, words: str, pairs: Sequence[Pair], masks: Masks, level: float) -> Group:
    verdicts = np.concatenate([one.verdict[mask] for one, mask in zip(pairs, masks, strict=True)])
    n = len(verdicts)
    changes = [
        _over_seeds([getattr(one, name)[mask] for one, mask in zip(pairs, masks, strict=True)], level)
        for name in ("ttft_change_s", "e2e_change_s", "benefit_change_tokens")
    ]
    gain, pay = (float(np.sum(verdicts == sign)) / n if n else 0.0 for sign in (1, -1))
    return Group(kind, words, n, gain, pay, *changes)


def _over_seeds(changes: Sequence[Floats], level: float) -> Interval | None:
    """Mean over seeds of the means over requests; None unless every seed has a request to compare."""
    known = [change[~np.isnan(change)] for change in changes]
    return mean([float(one.mean()) for one in known], level) if all(len(one) for one in known) else None


def most_changed(one: Pair, each: int = 2) -> dict[str, int]:
    """Pick the requests whose last token moved most, words -> id: `each` that pay, then `each` that gain.

    One that only one side finished moved more than any that both did; of these, those with the longest answers.
    """
    change_s = np.where(np.isnan(one.e2e_change_s), 0.0, one.e2e_change_s)
    done = [outcome == Outcome.FINISHED for outcome in one.outcome]
    moved = (done[0] & ~done[1]).astype(np.float64) - (done[1] & ~done[0])
    size = np.where(moved == 0, np.abs(change_s), one.output_tokens)
    picked: dict[str, int] = {}
    for words, alone, sign in (("pays", "not finished any more", 1), ("gains", "finished only now", -1)):
        strength = np.lexsort((size, np.abs(moved)))[::-1]
        mine = strength[(sign * moved[strength] > 0) | ((moved[strength] == 0) & (sign * change_s[strength] > 0))]
        for place in mine[:each].tolist():
            said = f"{change_s[place]:+.3g} s" if moved[place] == 0 else alone
            picked[f"{words}: {said} (request {one.request[place]})"] = int(one.request[place])
    return picked
