"""A plan's answers as sentences."""

from __future__ import annotations

from llmsim.studies.plan.evaluate import FAILS, Evaluation
from llmsim.studies.plan.plan_answers import Answer, AnsweredPlan

#: beyond it, a handful of runs and Student's t say no more
MOST_SAID = 0.999


def sentence(planned: AnsweredPlan) -> str:
    """The answer: the cheapest candidate's, or that there is none."""
    best = planned.best
    if best is not None:
        return in_words(best, planned.question.targets)
    reasons = "; ".join(in_words(answer, planned.question.targets) for answer in planned.answers)
    return f"refused: {reasons}"


def in_words(answer: Answer, targets: tuple[object, ...]) -> str:
    """Say what one candidate carries, with what probability, and what its neighbour does not."""
    if answer.carries is None:
        return _refusal(answer)
    met = " and ".join(map(str, targets))
    said = f"{_cluster(answer, answer.carries)} {_carry(answer, answer.carries)} with "
    if answer.candidate.load.given:  # nothing is drawn, so that nothing is probable
        said += f"{met} ({answer.carries.reason}, of the {answer.carries.runs[0].requests:,} requests given)"
    else:
        said += f"P({met}) {probability_words(answer.carries.probability)}"
    if answer.neighbour is None:
        return f"{said}; {'no larger load was looked at' if answer.find == 'load' else 'one is the least'}"
    return f"{said}; {_neighbour(answer, answer.neighbour)}"


def _neighbour(answer: Answer, neighbour: Evaluation) -> str:
    by_instances, one = answer.find == "instances", neighbour.instances == 1
    what = (
        f"{neighbour.instances} suffice{'s' if one else ''}"
        if by_instances
        else answer.candidate.load.text(neighbour.amount)
    )
    if neighbour.answer != FAILS:
        known = "" if neighbour.probability is None else f"P({what}) {probability_words(neighbour.probability)}, "
        whether = (
            f"whether {what}" if by_instances else f"whether {'it' if one else 'they'} {_carry(answer, neighbour)}"
        )
        return f"{known}{whether} could not be told: {neighbour.reason}{_remedy(neighbour, answer.find)}"
    if neighbour.reason.startswith("overloaded"):
        overloaded = f"{neighbour.instances} {'is' if one else 'are'} overloaded"
        return overloaded if by_instances else f"{what} overloads {'it' if one else 'them'}"
    if answer.candidate.load.given:
        fewer = str(neighbour.instances) if by_instances else what
        return f"{fewer} {'does' if one and by_instances else 'do'} not: {neighbour.reason}"
    return f"P({what}) {probability_words(neighbour.probability)}"


def _refusal(answer: Answer) -> str:
    tried = answer.neighbour
    assert tried is not None
    if tried.unloaded:
        hardware, load = answer.candidate.hardware, answer.candidate.load
        if answer.find == "load":
            return f"{hardware} carries no load, however small: {tried.reason}"
        return f"no number of {hardware} carries {load.text(load.amount)}: {tried.reason}"
    cluster = _cluster(answer, tried)
    if tried.answer != FAILS:
        whether = f"whether {cluster} {_carry(answer, tried)}"
        return f"{whether} could not be told: {tried.reason}{_remedy(tried, answer.find)}"
    amount = answer.candidate.load.text(tried.amount)
    said = f"{cluster} {'does' if tried.instances == 1 else 'do'} not carry {amount}"
    if not tried.reason.startswith("overloaded"):
        said += f", P {probability_words(tried.probability)}"
    more = "; plan.most_instances allows no more" if answer.find == "instances" else ""
    return f"{said}: {tried.reason}{more}"


def _remedy(evaluation: Evaluation, find: str) -> str:
    by_length = evaluation.probability is None or find == "load"
    return f"; raise plan.{'most_requests' if by_length else 'most_seeds'}"


def _cluster(answer: Answer, evaluation: Evaluation) -> str:
    return f"{evaluation.instances} x {answer.candidate.hardware}"


def _carry(answer: Answer, evaluation: Evaluation) -> str:
    verb = "carries" if evaluation.instances == 1 else "carry"
    return f"{verb} {answer.candidate.load.text(evaluation.amount)}"


def probability_words(probability: float | None) -> str:
    """A probability as what follows P: "= 0.982", or no more digits than a handful of runs can say."""
    if probability is None:
        return "unknown"
    if probability > MOST_SAID:
        return f"> {MOST_SAID}"
    return f"< {1 - MOST_SAID:.3f}" if probability < 1 - MOST_SAID else f"= {probability:.3f}"
