"""Synthetic conversations: turns with think times, agents between tool calls, prompts that repeat what was said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.workload.arguments import positive, whole
from llmsim.workload.arrival_process import ArrivalProcess, Times
from llmsim.workload.contract import Workload
from llmsim.workload.length_source import LengthSource
from llmsim.workload.patience import draw_patience
from llmsim.workload.prefixes import Prefixes
from llmsim.workload.sessions import NO_REQUEST, Ints, Sessions
from llmsim.workload.streams import Streams


@dataclass(frozen=True, slots=True)
class Number:
    """How many there are of something, at least 1: always `mean`, or geometric on 1, 2, … with that mean."""

    mean: float
    distribution: str = "geometric"

    def draw(self, rng: np.random.Generator, n: int) -> Ints:
        """Draw n numbers."""
        if positive("mean", self.mean) < 1 or (self.distribution == "fixed" and self.mean % 1):
            raise InputError(f"mean = {self.mean:g}: expected at least 1, and a whole number where it is fixed")
        drawn: Ints = np.full(n, int(self.mean)) if self.distribution == "fixed" else rng.geometric(1 / self.mean, n)
        return drawn


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds that a user lets pass."""

    mean_s: float
    distribution: str = "exponential"
    cv: float | None = None

    def draw(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """Draw n waits, at least a millisecond each."""
        return draw_patience(rng, n, distribution=self.distribution, mean_s=self.mean_s, cv=self.cv)


@dataclass(frozen=True, slots=True)
class Plan:
    """How users talk.

    A conversation has `turns`, with `think` between an answer and the next turn. With `calls`, each turn is the work of
    an agent that calls the model so many times, with a `tool` gap between an answer and the next call. With `history`,
    each prompt begins with all prompts and answers before it, until `max_context_tokens` would not hold prompt and
    answer: then the user begins a new conversation. Closed-loop users let a `pause` pass before each conversation.
    """

    turns: Number
    think: Wait
    calls: Number = Number(1, "fixed")
    tool: Wait | None = None
    pause: Wait | None = None
    history: bool = True
    max_context_tokens: int | None = None


def converse(
    streams: Streams, plan: Plan, *, requests: int, begin: ArrivalProcess | int, lengths: LengthSource
) -> Workload:
    """Draw conversations of `requests` requests in all; the last one may be cut short.

    `begin` says when conversations begin: an arrival process, or a number of users with one conversation
    after the other each (user u those with numbers u, u + users, …). `lengths` are those of question and answer. Draws
    from the streams `arrivals`, `lengths` and `sessions`.
    """
    n = whole("requests", requests)
    turns, calls, think, tool, pause = streams.sessions.spawn(5)
    turn_of = _spread(plan.calls.draw(calls, n), n)
    conversation = _spread(plan.turns.draw(turns, n), n)[turn_of]
    gaps_s = plan.think.draw(think, n)
    if plan.tool is not None:
        calls_on = np.flatnonzero(np.diff(turn_of, prepend=NO_REQUEST) == 0)
        gaps_s[calls_on] = plan.tool.draw(tool, n)[calls_on]
    before = np.arange(n) - 1
    first = np.flatnonzero(np.diff(conversation, prepend=NO_REQUEST))
    begins_s, before[first] = _begins(streams.arrivals, begin, first, n)
    if not isinstance(begin, int):
        gaps_s[first] = 0.0
    else:
        gaps_s[first] = 0.0 if plan.pause is None else plan.pause.draw(pause, len(first))
        begins_s = np.where(before[first] == NO_REQUEST, gaps_s[first], 0.0)
    questions, answers = lengths.tokens(streams.lengths, n)
    prompts, fresh = _with_history(questions, answers, first, plan)
    earliest_s = _earliest(before, gaps_s, first, begins_s)
    return _in_order(earliest_s, prompts, answers, before, gaps_s, np.cumsum(fresh) - 1, plan.history)


def _spread(counts: Ints, n: int) -> Ints:
    """Number the owner of each of n items, of which owner i has counts[i]."""
    return np.repeat(np.arange(len(counts)), np.minimum(counts, n))[:n]


def _begins(rng: np.random.Generator, begin: ArrivalProcess | int, first: Ints, n: int) -> tuple[Times, Ints]:
    """When each conversation begins if none is before it, and the request after which it does."""
    conversations = len(first)
    if not isinstance(begin, int):
        return begin.times_s(rng, conversations), np.full(conversations, NO_REQUEST)
    users = whole("users", begin)
    last = np.append(first[1:], n) - 1
    return np.zeros(conversations), np.concatenate([np.full(min(users, conversations), NO_REQUEST), last[:-users]])


def _with_history(questions: Ints, answers: Ints, first: Ints, plan: Plan) -> tuple[Ints, NDArray[np.bool_]]:
    """Prompts, and whether a request begins a new conversation: one is planned, or the context is full."""
    fresh = np.zeros(len(questions), dtype=np.bool_)
    fresh[first] = True
    if not plan.history:
        return questions, fresh
    most = np.inf if plan.max_context_tokens is None else plan.max_context_tokens
    context, prompts = 0, []
    for i, (new, question, answer) in enumerate(zip(fresh.tolist(), questions.tolist(), answers.tolist(), strict=True)):
        if new or context + question + answer > most:
            context, fresh[i] = 0, True
        prompts.append(context + question)
        context += question + answer
    return np.array(prompts, dtype=np.int64), fresh


def _earliest(before: Ints, gaps_s: Times, first: Ints, begins_s: Times) -> Times:
    """When each request would arrive if answers took no time."""
    earliest_s = np.zeros(len(before)).tolist()
    begins = dict(zip(first.tolist(), begins_s.tolist(), strict=True))
    for i, (of, gap_s) in enumerate(zip(before.tolist(), gaps_s.tolist(), strict=True)):
        earliest_s[i] = begins[i] if of == NO_REQUEST else earliest_s[of] + gap_s
    return np.array(earliest_s)


def _in_order(
    earliest_s: Times, prompts: Ints, answers: Ints, before: Ints, gaps_s: Times, conversation: Ints, history: bool
) -> Workload:
    """Put requests in order of their earliest time."""
    order = np.argsort(earliest_s, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    after = np.where(before == NO_REQUEST, NO_REQUEST, place[before])[order]
    sessions = Sessions(after, gaps_s[order], conversation[order])
    prefixes = _repeating(prompts + answers, conversation).take(order) if history else None
    columns = (earliest_s[order], prompts[order], answers[order])
    return Workload(*columns, "synthetic conversations", prefixes, user=sessions.conversation, sessions=sessions)


def _repeating(ends: Ints, conversation: Ints) -> Prefixes:
    """Each turn repeats all turns of its conversation before it, and is repeated in turn: one part for each."""
    n = len(ends)
    first = np.flatnonzero(np.diff(conversation, prepend=NO_REQUEST))
    turn = np.arange(n) - first[conversation]
    start = np.concatenate([[0], np.cumsum(turn + 1)])
    ids = np.arange(start[-1]) - np.repeat(start[:-1], turn + 1) + np.repeat(first[conversation], turn + 1)
    return Prefixes(ids, ends[ids], start)
