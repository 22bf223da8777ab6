"""Answer a question of capacity for every candidate, and say what binds and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from llmsim.errors import LlmsimError
from llmsim.scenario import Scenario, SyntheticWorkload
from llmsim.studies.plan.binding import Binding, what_binds
from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.evaluate import CARRIES, FAILS, Evaluation, Evaluator, Rules
from llmsim.studies.plan.measured_runs import MeasuredPoint, measure
from llmsim.studies.plan.plan_question import Question
from llmsim.studies.plan.search import boundary

#: (evaluations done, about how many there will be)
Progress = Callable[[int, int], None]
#: a first guess of the evaluations that a candidate takes
EXPECTED_EVALUATIONS = 6
#: the rate is bracketed in steps of this factor, and no further than this many of them
RATE_STEP, RATE_STEPS = 1.5, 24


@dataclass(frozen=True)
class Answer:
    """What was found for one candidate: the last that carries, and its neighbour that does not, where there are."""

    find: str
    candidate: Candidate
    carries: Evaluation | None
    neighbour: Evaluation | None  #: one instance less, or a rate a little higher; None: the end of what was asked
    evaluations: tuple[Evaluation, ...]  #: all, in order of size or rate
    binding: Binding | None  #: of the neighbour where that fails, else of the answer

    @property
    def settled(self) -> bool:
        """The answer is also the best: its neighbour is known to fail, or there is none."""
        return self.carries is not None and (self.neighbour is None or self.neighbour.answer == FAILS)

    def usd_per_hour(self, evaluation: Evaluation) -> float:
        """Cost of an evaluation's cluster."""
        return self.candidate.usd_per_hour(evaluation.instances)

    def usd_per_million_tokens(self, evaluation: Evaluation) -> float | None:
        """Cost of a million output tokens at the evaluation's load; None unless its runs are steady."""
        tokens_per_s = evaluation.mean("output_tokens_per_s")
        return self.usd_per_hour(evaluation) / (3600 * tokens_per_s) * 1e6 if tokens_per_s else None

    def user_tokens_per_s(self, evaluation: Evaluation) -> float | None:
        """Tokens per second that the median user sees after the first; None unless its runs are steady."""
        tpot_s = evaluation.mean("tpot_s.p50")
        return 1 / tpot_s if tpot_s and math.isfinite(tpot_s) else None

    @property
    def bound(self) -> Evaluation | None:
        """The evaluation that shows what binds: the largest cluster that is too small, else the answer's."""
        fails = self.neighbour is not None and self.neighbour.answer == FAILS
        return self.neighbour if fails else self.carries

    def binding_scenario(self) -> Scenario | None:
        """The experiment that shows what binds; None where nothing was settled."""
        if self.bound is None:
            return None
        run = self.bound.runs[0]
        return self.candidate.at(
            instances=self.bound.instances, rate_per_s=self.bound.rate_per_s, requests=run.requests, seed=run.seed
        )


@dataclass(frozen=True)
class AnsweredPlan:
    """The answers to a question, candidate by candidate."""

    question: Question
    answers: tuple[Answer, ...]

    @property
    def best(self) -> Answer | None:
        """The cheapest that carries: by the hour for a load, by the token for a cluster. None: nothing does."""
        found = [(self._cost(answer), place) for place, answer in enumerate(self.answers) if answer.carries]
        return self.answers[min(found)[1]] if found else None

    def _cost(self, answer: Answer) -> float:
        assert answer.carries is not None
        if self.question.table.find == "instances":
            return answer.usd_per_hour(answer.carries)
        return answer.usd_per_million_tokens(answer.carries) or math.inf


def make_plan(question: Question, executor: Executor, progress: Progress | None = None) -> AnsweredPlan:
    """Answer for every candidate; runs go to `executor`, and the answer does not depend on which that is."""
    done = 0
    answers: list[Answer] = []

    def evaluated() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            rest = len(question.candidates) - len(answers) - 1
            progress(done, max(done + 1, EXPECTED_EVALUATIONS) + EXPECTED_EVALUATIONS * rest)

    for candidate in question.candidates:
        answers.append(_answer(question, candidate, _evaluator(question, executor), evaluated))
    return AnsweredPlan(question, tuple(answers))


def _evaluator(question: Question, executor: Executor) -> Evaluator:
    table, workload = question.table, question.scenario.workload
    assert isinstance(workload, SyntheticWorkload)
    rules = Rules(table.confidence, table.least_seeds, table.most_seeds, workload.requests, table.most_requests)

    def measure_all(scenarios: Any) -> list[MeasuredPoint]:
        try:
            return list(executor.map(partial(measure, targets=question.targets, files=question.files), scenarios))
        except BrokenExecutor:
            raise LlmsimError("a worker process died: out of memory, or killed; try --jobs 1") from None

    return Evaluator(rules, question.targets, measure_all, question.scenario.seed)


def _answer(question: Question, candidate: Candidate, evaluate: Evaluator, evaluated: Callable[[], None]) -> Answer:
    found: dict[float, Evaluation] = {}
    by_instances = question.table.find == "instances"

    def holds(x: float) -> bool:
        instances, rate_per_s = (int(x), question.rate_per_s) if by_instances else (fixed, x)
        found[x] = evaluate(
            instances,
            rate_per_s,
            lambda requests, seed: candidate.at(
                instances=instances, rate_per_s=rate_per_s, requests=requests, seed=seed
            ),
        )
        evaluated()
        return found[x].answer == CARRIES

    fixed = candidate.scenario.cluster.instances
    search = _by_instances(question, fixed) if by_instances else _by_rate(question)
    good, bad = search(holds)
    carries, neighbour = (found[x] if x is not None else None for x in (good, bad))
    all_found = tuple(found[x] for x in sorted(found))
    answer = Answer(question.table.find, candidate, carries, neighbour, all_found, None)
    shown = answer.binding_scenario()
    binding = None if shown is None else what_binds(shown, candidate.files)
    return replace(answer, binding=binding)


Search = Callable[[Callable[[float], bool]], tuple[float | None, float | None]]


def _by_instances(question: Question, start: int) -> Search:
    most = question.table.most_instances
    return partial(
        boundary,
        start=float(min(start, most)),
        easier=lambda n: min(2 * n, most) if n < most else None,
        harder=lambda n: float(n // 2) if n > 1 else None,
        between=lambda good, bad: float((good + bad) // 2) if good - bad > 1 else None,
    )


def _by_rate(question: Question) -> Search:
    start, near = question.rate_per_s, 1 + question.table.resolution
    least, most = start / RATE_STEP**RATE_STEPS, start * RATE_STEP**RATE_STEPS
    return partial(
        boundary,
        start=start,
        easier=lambda rate: _rounded(rate / RATE_STEP) if rate > least else None,
        harder=lambda rate: _rounded(rate * RATE_STEP) if rate < most else None,
        between=lambda good, bad: _rounded(math.sqrt(good * bad)) if bad / good > near else None,
    )


def _rounded(rate_per_s: float) -> float:
    """Four digits: a rate that a person can ask for again, still inside a bracket of the finest resolution."""
    return float(f"{rate_per_s:.4g}")
