"""Answer a question of capacity for every candidate, and say what binds and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from llmsim.errors import LlmsimError
from llmsim.latency.residuals import kind_of
from llmsim.scenario import Scenario
from llmsim.studies.kept_runs import KeptRuns
from llmsim.studies.plan.binding import Binding, what_binds
from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.certainty import ModelCertainty, model_certainty
from llmsim.studies.plan.evaluate import CARRIES, FAILS, Evaluation, Evaluator, Rules
from llmsim.studies.plan.guess import Most, likely_instances, most_per_instance, too_few
from llmsim.studies.plan.loads import USERS, load_of, phase_rates, steady_at
from llmsim.studies.plan.measured_runs import PAID_USD_PER_HOUR, MeasuredPoint, measure
from llmsim.studies.plan.plan_question import Question
from llmsim.studies.plan.run_store import RunStore
from llmsim.studies.plan.search import boundary

#: (evaluations done, about how many there will be)
Progress = Callable[[int, int], None]
#: a first guess of the evaluations that a candidate takes
EXPECTED_EVALUATIONS = 6
#: the rate is bracketed in steps that begin with this factor and double, and no further than this many of them
RATE_STEP, RATE_STEPS = 1.1, 8
#: runs that end at a given time, until_s, are made so many times longer at the most
UNTIL_LONGER = 16
#: instances more than the answer's, or as many again, among which one that bears the error of step times is looked for
MORE = 2
#: runs at each error of the step times, of no more requests than this unless the load is given: the error is far wider
#: than what longer ones would tell; what they cannot tell counts as not carried
MODEL_SEEDS, MODEL_REQUESTS = 2, 16_000


@dataclass(frozen=True)
class Answer:
    """What was found for one candidate: the last that carries, and its neighbour that does not, where there are."""

    find: str
    candidate: Candidate
    carries: Evaluation | None
    neighbour: Evaluation | None  #: one instance less, or a load a little higher; None: the end of what was asked
    evaluations: tuple[Evaluation, ...]  #: all, in order of size or load
    binding: Binding | None  #: of the neighbour where that fails, else of the answer

    @property
    def settled(self) -> bool:
        """The answer is also the best: its neighbour is known to fail, or there is none."""
        return self.carries is not None and (self.neighbour is None or self.neighbour.answer == FAILS)

    def usd_per_hour(self, evaluation: Evaluation) -> float:
        """Cost of an evaluation's cluster; of instances that come and go, what was paid in the mean."""
        paid = evaluation.mean(PAID_USD_PER_HOUR)
        return self.candidate.usd_per_hour(evaluation.instances) if paid is None else paid

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
            instances=self.bound.instances, amount=self.bound.amount, requests=run.requests, seed=run.seed
        )


@dataclass(frozen=True)
class AnsweredPlan:
    """The answers to a question, candidate by candidate."""

    question: Question
    answers: tuple[Answer, ...]
    pruned: tuple[str, ...] = ()  #: candidates that cannot be the cheapest, and why
    autoscaled: Answer | None = None  #: instances that come and go by the scenario's rule
    phases: tuple[tuple[float, Answer], ...] = ()  #: rate of each phase of the period, and its answer
    certainty: ModelCertainty | None = None  #: of the best, with the error of its step times; None: not known

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


def make_plan(
    question: Question, executor: Executor, progress: Progress | None = None, kept: KeptRuns | None = None
) -> AnsweredPlan:
    """Answer for every candidate; runs go to `executor`, and the answer does not depend on which that is.

    Runs that are `kept` are not made again, and others are kept as they are made.
    """
    return Planner(question, executor, RunStore(kept, question.targets, question.files), progress).plan()


@dataclass
class Planner:
    """A question on its way to its answers."""

    question: Question
    executor: Executor
    store: RunStore
    progress: Progress | None
    pruned: list[str] = field(default_factory=list)
    most: dict[str, Most | None] = field(default_factory=dict)  #: by the scenario without its load
    done: int = 0
    left: int = 0

    def plan(self) -> AnsweredPlan:
        """Answer for every candidate that may be the cheapest, then for the scenario's own rule, and for phases."""
        answers: list[Answer] = []
        for i, candidate in enumerate(self.question.candidates):
            self.left = len(self.question.candidates) - i - 1
            answer = self._answer(candidate, self._least_usd(answers))
            if answer is not None:
                answers.append(answer)
        found = AnsweredPlan(self.question, tuple(answers), tuple(self.pruned))
        phases = tuple(self._phases(found.best))
        return replace(found, autoscaled=self._autoscaled(), phases=phases, certainty=self._certainty(found.best))

    def _least_usd(self, answers: Sequence[Answer]) -> float:
        costs = [answer.usd_per_hour(answer.carries) for answer in answers if answer.carries]
        return min(costs, default=math.inf) if self.question.table.find == "instances" else math.inf

    def _evaluator(self, step_time_factor: float = 1.0) -> Evaluator:
        question, table = self.question, self.question.table
        first = getattr(question.scenario.workload, "requests", table.most_requests)
        most = first * UNTIL_LONGER if question.scenario.until_s is not None else table.most_requests
        rules = Rules(table.confidence, table.least_seeds, table.most_seeds, first, most)
        if question.load.given:
            rules = Rules(table.confidence, 1, 1, first, first, given=True)
        elif question.load.whole:
            rules = replace(rules, most_requests=first)

        def measure_all(scenarios: Any) -> list[MeasuredPoint]:
            task = partial(
                measure,
                targets=question.targets,
                files=question.files,
                finite=question.load.finite,
                step_time_factor=step_time_factor,
            )
            try:
                return list(self.executor.map(task, scenarios))
            except (BrokenExecutor, CancelledError):
                raise LlmsimError("a worker process died: out of memory, or killed; try --jobs 1") from None

        return Evaluator(
            rules, question.targets, self.store.through(measure_all, step_time_factor), question.scenario.seed
        )

    def _evaluated(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, max(self.done + 1, EXPECTED_EVALUATIONS) + EXPECTED_EVALUATIONS * self.left)

    def _answer(self, candidate: Candidate, least_usd: float) -> Answer | None:
        """Answer for a candidate; None for one that would cost more than another that carries."""
        table, load = self.question.table, self.question.load
        most = self._most(candidate)
        if table.find == "load":
            size = 1 if candidate.scenario.pool else candidate.scenario.cluster.instances
            return self._searched(candidate, _by_load(self.question, size, most), size)
        if most is not None and (needed := too_few(load.amount, most.rate_per_s) + 1) > 1:
            usd = candidate.usd_per_hour(needed)
            if usd > least_usd:
                words = f"{candidate.hardware}, {candidate.scheduler}"
                self.pruned.append(f"{words}: at least {needed}, for {usd:,.2f} USD/h, more than the cheapest found")
                return None
        return self._searched(candidate, _by_instances(self.question, candidate, most), None)

    def _searched(self, candidate: Candidate, search: Search, size: int | None, amount: float | None = None) -> Answer:
        """Search for a size at the load asked for, or with a size for a load."""
        found: dict[float, Evaluation] = {}
        asked = self.question.load.amount if amount is None else amount

        def holds(x: float) -> bool:
            found[x] = self._evaluation(candidate, *((int(x), asked) if size is None else (size, x)))
            self._evaluated()
            return found[x].answer == CARRIES

        good, bad = search(holds)
        carries, neighbour = (found[x] if x is not None else None for x in (good, bad))
        all_found = tuple(found[x] for x in sorted(found))
        return self._with_binding(
            Answer(self.question.table.find, candidate, carries, neighbour, all_found, None), candidate
        )

    def _evaluation(self, candidate: Candidate, instances: int, amount: float) -> Evaluation:
        """Whether so many carry so much; what they cannot even finish needs no run of its own."""
        most = None if candidate.scenario.autoscaling else self._most(candidate)
        if most is not None and most.overloads(instances, amount):
            shown = most.evidence(instances, amount)
            return Evaluation(instances, amount, FAILS, 0.0, f"{shown.answer}: {shown.reason}", (shown,), crowded=True)
        return self._evaluator()(
            instances,
            amount,
            lambda requests, seed: candidate.at(instances=instances, amount=amount, requests=requests, seed=seed),
        )

    def _with_binding(self, answer: Answer, candidate: Candidate) -> Answer:
        """Say what binds, from a run anew: the evaluations kept numbers alone."""
        most = self._most(candidate)
        if answer.bound is not None and answer.bound.crowded and most is not None:
            return replace(answer, binding=most.binding)
        shown = answer.binding_scenario()
        return replace(answer, binding=None if shown is None else what_binds(shown, candidate.files))

    def _autoscaled(self) -> Answer | None:
        """See whether the scenario's rule for instances that come and go carries the load, and what it costs."""
        candidate = self.question.autoscaled
        if candidate is None:
            return None
        start = candidate.scenario.cluster.instances
        ends: dict[str, Any] = {"easier": lambda n: None, "harder": lambda n: None, "between": lambda good, bad: None}
        return self._searched(candidate, partial(boundary, start=float(start), **ends), None)

    def _phases(self, best: Answer | None) -> list[tuple[float, Answer]]:
        """The fewest instances for the rate of each phase, as if it stayed for ever."""
        if self.question.table.phases is None or best is None:
            return []
        known: dict[float, Answer] = {}
        rates = phase_rates(self.question.scenario, self.question.load, self.question.table.phases)
        for rate_per_s in rates:
            if rate_per_s not in known and rate_per_s > 0:
                asked = steady_at(best.candidate.scenario, rate_per_s)
                steady = replace(best.candidate, scenario=asked, load=load_of(asked))
                question = replace(self.question, load=steady.load, candidates=(steady,))
                phase = replace(self, question=question, left=0)
                known[rate_per_s] = phase._searched(steady, _by_instances(question, steady, self._most(steady)), None)
                self.done = phase.done
        return [(rate_per_s, known[rate_per_s]) for rate_per_s in rates if rate_per_s > 0]

    def _certainty(self, best: Answer | None) -> ModelCertainty | None:
        """How sure the best answer is of its step times, too; None where their error is not known, or not asked for."""
        if best is None or best.carries is None or not self.question.table.model_error:
            return None
        full = best.binding is not None and best.binding.name in ("seats", "memory")
        kind = kind_of(best.candidate.instances()[0].latency, full=full)
        if kind is None:
            return None
        carries, asked = best.carries, self.question.table.confidence
        load, length = self.question.load, max(run.requests for run in carries.runs)
        seeds, length = min(len(carries.runs), MODEL_SEEDS), length if load.whole else min(length, MODEL_REQUESTS)
        rules = Rules(asked, seeds, seeds, length, length if load.whole else MODEL_REQUESTS, load.given)

        def carried(factor: float, instances: int = carries.instances) -> bool:
            self._evaluated()
            evaluate = replace(self._evaluator(factor), rules=rules)
            at = partial(best.candidate.at, instances=instances, amount=carries.amount)
            found = evaluate(instances, carries.amount, lambda requests, seed: at(requests=requests, seed=seed))
            return found.answer == CARRIES

        def safe(factor: float) -> int | None:
            more = range(carries.instances + 1, carries.instances + 1 + max(MORE, carries.instances))
            return None if best.find == "load" else next((n for n in more if carried(factor, n)), None)

        return model_certainty(kind, carries.probability or 0.0, carried, safe)

    def _most(self, candidate: Candidate) -> Most | None:
        """What an instance can do at most, measured once for the same instance."""
        key = candidate.scenario.model_copy(update={"workload": Scenario().workload}).model_dump_json()
        if key not in self.most:
            self.most[key] = most_per_instance(candidate)
        return self.most[key]


Search = Callable[[Callable[[float], bool]], tuple[float | None, float | None]]


def _by_instances(question: Question, candidate: Candidate, most: Most | None) -> Search:
    largest, least = question.table.most_instances, 1
    start = 1 if candidate.scenario.pool else question.scenario.cluster.instances
    if most is not None:
        start = likely_instances(question.load.amount, most.rate_per_s)
        least = max(1, min(too_few(question.load.amount, most.rate_per_s), start))
    steps = _Steps()
    return partial(
        boundary,
        start=float(min(start, largest)),
        easier=lambda n: min(n + steps.next(), largest) if n < largest else None,
        harder=lambda n: max(n - steps.next(), least) if n > least else None,
        between=lambda good, bad: float((good + bad) // 2) if good - bad > 1 else None,
    )


@dataclass
class _Steps:
    """1, 2, 4, …: a search that begins near its end takes a step or two."""

    size: int = 1

    def next(self) -> int:
        size, self.size = self.size, 2 * self.size
        return size


def _by_load(question: Question, size: int, most: Most | None) -> Search:
    load, near = question.load, 1 + question.table.resolution
    start = load.amount if most is None else _rounded(0.85 * size * most.rate_per_s)
    users, steps = load.key == USERS, _Steps()

    def further(amount: float, sign: int) -> float | None:
        if steps.size >= 2**RATE_STEPS:
            return None
        factor = RATE_STEP ** (sign * steps.next())
        if not users:
            return _rounded(amount * factor)
        moved = max(1.0, math.floor(amount * factor) if sign < 0 else math.ceil(amount * factor))
        return None if moved == amount else moved

    def between(good: float, bad: float) -> float | None:
        if bad / good <= near:
            return None
        if users:
            return float((good + bad) // 2) if bad - good > 1 else None
        return _rounded(math.sqrt(good * bad))

    return partial(
        boundary, start=start, easier=lambda x: further(x, -1), harder=lambda x: further(x, 1), between=between
    )


def _rounded(rate_per_s: float) -> float:
    """Four digits: a rate that a person can ask for again, still inside a bracket of the finest resolution."""
    return float(f"{rate_per_s:.4g}")
