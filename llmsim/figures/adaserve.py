"""AdaServe (arXiv 2501.12162): drafting as each request's SLO needs it, against one number of drafts for all."""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsim.figures.claim import Claim, Made, PaperFigure, Sweeps
from llmsim.figures.draft_panels import draft_panels
from llmsim.figures.intervals import interval
from llmsim.figures.plan import AS_IT_IS, Plan, Sweep, means_by_rate
from llmsim.record import Floats
from llmsim.reports.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED
from llmsim.studies.validation.ways_to_draft import CHUNKED, FIRST, FIXED, KINDS, OURS

SETTING = "adaserve"
#: requests/s: those of the paper's workloads, and beyond, where this instance fails its SLOs at last
RATES, QUICK_RATES = (2.4, 3.0, 3.6, 4.2, 4.8, 5.4, 6.0), (2.4, 3.6, 4.8, 5.4, 6.0)
TOP_OF_PAPER = 4.8
LOOKS = dict(
    zip(KINDS, ((RED, "D"), (BLUE, "o"), (PURPLE, "v"), (ORANGE, "s"), (GREEN, "^"), (GREY, "x")), strict=True)
)
#: at the highest rate of the paper, what other budgets attain than the scenario's
BUDGETS = (128, 256, 512)


def plans(quick: bool) -> tuple[Plan, ...]:
    """Each kind of drafting over the rates; then other budgets at one of them."""
    rates, seeds, horizon_s = (QUICK_RATES, 3, 240.0) if quick else (RATES, 8, 360.0)
    kinds = [Plan(SETTING, AS_IT_IS, rates, seeds, changes, horizon_s) for changes in KINDS.values()]
    others = [(f"scheduler.verify_tokens={budget}",) for budget in BUDGETS]
    return (*kinds, *(Plan(SETTING, AS_IT_IS, (TOP_OF_PAPER,), seeds, changes, horizon_s) for changes in others))


def make(sweeps: Sweeps, quick: bool) -> Made:
    """Judge each part of the claim."""
    found = [sweeps[plan] for plan in plans(quick)]
    of = dict(zip(KINDS, found, strict=False))
    judged = [_order(of), _lead(of), _accepted(of)]
    claim = Claim(
        claim=17,
        statement="At high rates drafts shared out by SLOs keep more requests within their time per token than the "
        "best fixed number of drafts, and that more than no drafts; the lead grows with the rate; fewer tokens are "
        "accepted in a step as it grows, where a fixed number accepts as many",
        passed=all(holds for holds, _ in judged),
        evidence=tuple(text for _, text in judged),
        limits=(
            _against_paper(of),
            _budgets(of[OURS], found[len(KINDS) :]),
            "Drafts are chains whose acceptance is known and even, 0.7 each; the paper's are trees, by the drafter's "
            "own probabilities. A draft step takes 2.5 ms, and a lone request 30 ms a token without drafts.",
        ),
    )
    return Made(claim, {"adaserve": _draw(of)}, {"adaserve": _table(of)})


def _attained(sweep: Sweep) -> Floats:
    """Requests within their own SLO, percent, (R, S)."""
    return np.asarray(100 * sweep.values["own_attainment"])


def _best_fixed(of: dict[str, Sweep]) -> Floats:
    """What the best fixed number attains at each rate, by its mean over seeds, (R, S)."""
    each = np.stack([_attained(of[kind]) for kind in FIXED])
    best = each.mean(axis=2).argmax(axis=0)
    return np.asarray(each[best, np.arange(len(best))])


def _order(of: dict[str, Sweep]) -> tuple[bool, str]:
    """At the two highest rates: ours, the best fixed number, the better of those without drafts."""
    ours, best = _attained(of[OURS]), _best_fixed(of)
    plain = np.maximum(_attained(of[CHUNKED]), _attained(of[FIRST]))
    over, above = interval(ours[-1] - best[-1]), interval(best[-1] - plain[-1])
    told = ", ".join(f"{kind} {_attained(sweep)[-1].mean():.1f}" for kind, sweep in of.items())
    text = (
        f"at {of[OURS].rates_per_s[-1]:g} requests/s, % within their own SLO: {told}; {over} points above the best "
        f"fixed number, and that {above} above no drafts"
    )
    return over.positive and above.positive, text


def _lead(of: dict[str, Sweep]) -> tuple[bool, str]:
    """Over the best fixed number, by rate; it never falls by more than a point."""
    lead = (_attained(of[OURS]) - _best_fixed(of)).mean(axis=1)
    told = ", ".join(f"{x:+.1f} at {r:g}" for x, r in zip(lead, of[OURS].rates_per_s, strict=True))
    return bool(lead[-1] > lead[0] and (np.diff(lead) > -1).all()), f"lead over the best fixed number, points: {told}"


def _accepted(of: dict[str, Sweep]) -> tuple[bool, str]:
    """Tokens that a step yields of a request, by rate."""
    ours = of[OURS].values["acceptance_length"].mean(axis=1)
    others = {kind: of[kind].values["acceptance_length"] for kind in FIXED}
    steady = max(float(np.ptp(values) / values.mean()) for values in others.values())
    told = ", ".join(f"{x:.2f} at {r:g}" for x, r in zip(ours, of[OURS].rates_per_s, strict=True))
    text = f"tokens that a step yields of a request: {told}; of a fixed number they vary by {100 * steady:.1f} %"
    return bool((np.diff(ours) < 0).all() and steady < 0.02), text


def _against_paper(of: dict[str, Sweep]) -> str:
    at = int(np.flatnonzero(of[OURS].rates_per_s == TOP_OF_PAPER)[0])
    told = ", ".join(f"{kind} {_attained(sweep)[at].mean():.1f}" for kind, sweep in of.items())
    return (
        "The paper's bursty mix, up to 4 requests/s: AdaServe 83.6 %, chunked prefill 65.6, vLLM 52.6, 4, 6 and 8 "
        f"drafts 51.6, 47.8 and 38.4. Here at {TOP_OF_PAPER:g}: {told}; on its own bursts: llmsim validate adaserve. "
        "There no drafts are better than any fixed number, which costs of vLLM 0.8.4 beyond drafting and verifying "
        "would explain; none are assumed here, so that less is left to gain."
    )


def _budgets(ours: Sweep, others: list[Sweep]) -> str:
    at = int(np.flatnonzero(ours.rates_per_s == TOP_OF_PAPER)[0])
    told = ", ".join(
        f"{budget} tokens {_attained(sweep)[0].mean():.1f}" for budget, sweep in zip(BUDGETS, others, strict=True)
    )
    return (
        f"The budget of 192 tokens was chosen as the best of those tried on the paper's trace of {TOP_OF_PAPER:g} "
        f"requests/s; the paper profiles its own. With others, % at that rate: {told}, in place of "
        f"{_attained(ours)[at].mean():.1f}"
    )


def _draw(of: dict[str, Sweep]) -> Any:
    return draft_panels(of, LOOKS, "own_goodput_tokens_per_s", y="goodput (tokens/s)", height_in=2.3)[0]


def _table(of: dict[str, Sweep]) -> dict[str, list[Any]]:
    names = ("own_attainment", "own_goodput_tokens_per_s", "acceptance_length")
    alone = {kind: np.ones(sweep.values["own_attainment"].shape) for kind, sweep in of.items()}  # nothing drafted
    return means_by_rate(
        ({"drafting": kind}, sweep, {name: sweep.values.get(name, alone[kind]) for name in names})
        for kind, sweep in of.items()
    )


FIGURE = PaperFigure("adaserve", "AdaServe", plans, make)
