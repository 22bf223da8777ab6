"""Answer a question of capacity for every candidate, and say what binds, how sure it is, and what would move it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, CancelledError, Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from llmsim.errors import LlmsimError
from llmsim.latency.residuals import Kind, kind_of
from llmsim.scenario import Scenario
from llmsim.studies.kept_runs import KeptRuns
from llmsim.studies.plan.binding import what_binds
from llmsim.studies.plan.by_phase import Phase, by_phase, requests_of_days
from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.certainty import ModelCertainty, model_certainty
from llmsim.studies.plan.evaluate import CARRIES, FAILS, LIKELY, UNLIKELY, Evaluation, Evaluator, Rules
from llmsim.studies.plan.guess import Most, most_per_instance, too_few
from llmsim.studies.plan.loads import load_of, phase_rates, steady_at
from llmsim.studies.plan.measured_runs import AS_IT_IS, Altered, MeasuredPoint, measure
from llmsim.studies.plan.plan_answers import Answer, AnsweredPlan
from llmsim.studies.plan.plan_question import Question
from llmsim.studies.plan.run_store import RunStore
from llmsim.studies.plan.searches import Search, at_one_size, by_instances, by_load
from llmsim.studies.plan.tornado import Tornado, tornado
from llmsim.studies.plan.unloaded import never_kept

#: (evaluations done, about how many there will be)
Progress = Callable[[int, int], None]
#: a first guess of the evaluations that a candidate takes
EXPECTED_EVALUATIONS = 6
#: runs that end at a given time, until_s, are made so many times longer at the most
UNTIL_LONGER = 16
#: sizes from the fewest that may bear the error of step times, or a share of those, among which one that does is looked
#: for
MORE, MORE_SHARE = 3, 4
#: requests of one run that answers alone, at the most: what is asked of it moves far more than longer ones would tell
MOST_OF_ONE = 16_000


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
        candidates, answers = self.question.candidates, dict[int, Answer]()
        for done, place in enumerate(sorted(range(len(candidates)), key=lambda i: self._least_usd(candidates[i]))):
            self.left = len(candidates) - done - 1
            if self._may_be_cheapest(candidates[place], answers.values()):
                answers[place] = self._answer(candidates[place])
        found = AnsweredPlan(self.question, tuple(answers[i] for i in sorted(answers)), tuple(self.pruned))
        phases = tuple(self._phases(found.best))
        autoscaled = self._autoscaled()
        return replace(
            found,
            autoscaled=autoscaled,
            phases=phases,
            days=self._days(found.best),
            autoscaled_days=self._days(autoscaled),
            certainty=self._certainty(found.best),
            tornado=self._tornado(found.best),
        )

    def _least_usd(self, candidate: Candidate) -> float:
        """Cost of an instance, or unit, for an hour by the requests that it finishes; 0 where that is not known.

        The cheapest by that is answered first: most others are dearer than its answer at their best.
        """
        if len(self.question.candidates) == 1:
            return 0.0
        most = self._most(candidate)
        return 0.0 if most is None else candidate.usd_per_hour(1) / most.rate_per_s

    def _may_be_cheapest(self, candidate: Candidate, answers: Iterable[Answer]) -> bool:
        """Whether it may cost less than all others that carry; why not is noted."""
        most, load = self._most(candidate), self.question.load
        if most is None:
            return True
        found = [(answer, answer.carries) for answer in answers if answer.carries]
        words = f"{candidate.hardware}, {candidate.scheduler}"
        if self.question.table.find == "instances":
            needed = max(too_few(load.amount, most.rate_per_s) + 1, math.ceil(load.amount / most.upper_per_s))
            usd = candidate.usd_per_hour(needed)
            dearer = any(usd > answer.usd_per_hour(one) for answer, one in found)
            words += f": at least {needed}, for {usd:,.2f} USD/h"
        else:
            size = size_of(candidate)
            usd = candidate.usd_per_hour(size) / (size * most.upper_per_s)
            dearer = any(usd > answer.usd_per_hour(one) / one.amount for answer, one in found)
            words += f": {load.text(float(f'{size * most.upper_per_s:.3g}'))} at most, however long requests wait"
        if dearer:
            self.pruned.append(f"{words} ({most.binding.name} binds): dearer than the cheapest found")
        return not dearer

    def _rules(self) -> Rules:
        question, table = self.question, self.question.table
        first = getattr(question.scenario.workload, "requests", table.most_requests)
        most = first * UNTIL_LONGER if question.scenario.until_s is not None else table.most_requests
        if question.load.given:
            return Rules(table.confidence, 1, 1, first, first, given=True)
        most = first if question.load.whole else most
        budget = most if table.find == "load" and not question.load.whole else None
        return Rules(table.confidence, table.least_seeds, table.most_seeds, first, most, budget=budget)

    def _evaluator(self, rules: Rules, altered: Altered = AS_IT_IS, *, late: bool = False) -> Evaluator:
        question = self.question

        def measure_all(scenarios: Any) -> list[MeasuredPoint]:
            task = partial(
                measure,
                targets=question.targets,
                files=question.files,
                finite=question.load.finite,
                late=late,
                altered=altered,
            )
            try:
                return list(self.executor.map(task, scenarios))
            except (BrokenExecutor, CancelledError):
                raise LlmsimError("a worker process died: out of memory, or killed; try --jobs 1") from None

        name = f"{altered.name}{'-late' if late else ''}"
        return Evaluator(rules, question.targets, self.store.through(measure_all, name), question.scenario.seed)

    def _keeps(self, candidate: Candidate, altered: Altered, instances: int, amount: float, requests: int) -> bool:
        """Whether one run keeps every target, as a whole or in its later half: of what moves more than seeds do."""
        self._evaluated()
        most = None if candidate.scenario.pool else self._most(candidate, altered.outputs)
        if most is not None and most.overloads(instances, amount * altered.step_times):
            return False
        once = Rules(self.question.table.confidence, 1, 1, requests, requests, given=True)
        at = partial(candidate.at, instances=instances, amount=amount)
        evaluate = self._evaluator(once, altered, late=not self.question.load.finite)
        return evaluate(instances, amount, lambda requests, seed: at(requests=requests, seed=seed)).answer == CARRIES

    def _evaluated(self) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, max(self.done + 1, EXPECTED_EVALUATIONS) + EXPECTED_EVALUATIONS * self.left)

    def _answer(self, candidate: Candidate) -> Answer:
        """Answer for a candidate."""
        table, most = self.question.table, self._most(candidate)
        never = never_kept(candidate, self.question.targets, table.confidence)
        if never is not None:
            return Answer(table.find, candidate, None, never[0], never[:1], never[1])
        if table.find == "load":
            size = size_of(candidate)
            return self._searched(candidate, by_load(self.question, size, most), size)
        return self._searched(candidate, by_instances(self.question, candidate, most), None, more=table.more_sizes)

    def _searched(self, candidate: Candidate, search: Search, size: int | None, *, more: int = 0) -> Answer:
        """Search for a size at the load asked for, and look at `more` beyond it; or with a size for a load."""
        found: dict[float, Evaluation] = {}
        asked, rules = self.question.load.amount, self._rules()

        def holds(x: float, glance: bool = False) -> bool:
            at = (int(x), asked) if size is None else (size, x)
            easier = (one for y, one in found.items() if (y >= x if size is None else y <= x))
            from_there = replace(rules, first_requests=self._first_requests(rules, easier))
            found[x] = self._evaluation(candidate, *at, from_there, glance=glance)
            self._evaluated()
            return found[x].answer in (CARRIES, LIKELY)

        good, bad = search(partial(holds, glance=not self.question.load.whole), holds)
        for further in range(int(good or 0) + 1, min(int(good or 0) + more, self.question.table.most_instances) + 1):
            if good is not None and (further not in found or found[further].answer in (LIKELY, UNLIKELY)):
                holds(float(further))
        carries, neighbour = (found[x] if x is not None else None for x in (good, bad))
        all_found = tuple(found[x] for x in sorted(found))
        return self._with_binding(
            Answer(self.question.table.find, candidate, carries, neighbour, all_found, None), candidate
        )

    def _first_requests(self, rules: Rules, easier: Iterable[Evaluation]) -> int:
        """Requests of the first run: no fewer than the fewest that told anything of what is easier to carry."""
        told = [one.runs[0].requests for one in easier if one.runs[0].values]
        return rules.first_requests if self.question.load.finite else max(rules.first_requests, min(told, default=0))

    def _evaluation(
        self, candidate: Candidate, instances: int, amount: float, rules: Rules, *, glance: bool
    ) -> Evaluation:
        """Whether so many carry so much, or likely do; what they cannot even finish needs no run of its own."""
        most = None if candidate.scenario.autoscaling else self._most(candidate)
        if most is not None and most.overloads(instances, amount):
            shown = most.evidence(instances, amount)
            return Evaluation(instances, amount, FAILS, 0.0, f"{shown.answer}: {shown.reason}", (shown,), crowded=True)
        evaluator = self._evaluator(rules)
        return (evaluator.glance if glance else evaluator)(
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
        return self._searched(candidate, at_one_size(candidate.scenario.cluster.instances), None)

    def _phases(self, best: Answer | None) -> list[tuple[float, Answer]]:
        """The fewest instances for the rate of each phase, as if it stayed."""
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
                known[rate_per_s] = phase._searched(steady, by_instances(question, steady, self._most(steady)), None)
                self.done = phase.done
        return [(rate_per_s, known[rate_per_s]) for rate_per_s in rates if rate_per_s > 0]

    def _days(self, answer: Answer | None) -> tuple[Phase, ...]:
        """What users see in each phase, by the runs of an answer, made again: evaluations kept numbers alone."""
        phases, period_s = self.question.table.phases, self.question.load.period_s
        if phases is None or period_s is None or answer is None or answer.carries is None:
            return ()
        one = answer.carries
        scenarios = [
            answer.candidate.at(instances=one.instances, amount=one.amount, requests=run.requests, seed=run.seed)
            for run in one.runs
        ]
        task = partial(requests_of_days, files=self.question.files)
        return by_phase(list(self.executor.map(task, scenarios)), period_s, phases)

    def _certainty(self, best: Answer | None) -> ModelCertainty | None:
        """How sure the best answer is of its step times, too; None where their error is not known, or not asked for."""
        kind = None if best is None or not self.question.table.model_error else step_times_of(best)
        if best is None or best.carries is None or kind is None:
            return None
        carries, most, requests = best.carries, self._most(best.candidate), self._requests_of_one(best.carries)

        def carried(factor: float, instances: int = carries.instances) -> bool:
            return self._keeps(best.candidate, Altered(factor), instances, carries.amount, requests)

        def safe(factor: float) -> int | None:
            fewest = carries.instances + 1
            if most is not None and not best.candidate.scenario.pool:
                fewest = max(fewest, math.ceil(factor * carries.amount / most.upper_per_s))
            more = range(fewest, fewest + max(MORE, fewest // MORE_SHARE))
            return None if best.find == "load" else next((n for n in more if carried(factor, n)), None)

        return model_certainty(kind, carries.probability or 0.0, carried, safe)

    def _requests_of_one(self, carries: Evaluation) -> int:
        longest = max(run.requests for run in carries.runs)
        return longest if self.question.load.whole else min(longest, MOST_OF_ONE)

    def _tornado(self, best: Answer | None) -> Tornado | None:
        """Which assumptions move the best answer; None where there is none, or it was not asked for."""
        if best is None or best.carries is None or not self.question.table.tornado:
            return None
        carries = best.carries
        keeps = partial(self._keeps, instances=carries.instances, requests=self._requests_of_one(carries))
        usd = best.usd_per_hour(carries)
        return tornado(best.candidate, step_times_of(best), carries.amount, usd, keeps, find=best.find)

    def _most(self, candidate: Candidate, output_factor: float = 1.0) -> Most | None:
        """What an instance can do at most, measured once for the same instance."""
        alone = candidate.scenario.model_copy(update={"workload": Scenario().workload}).model_dump_json()
        key = f"{alone} {output_factor:g}"
        if key not in self.most:
            self.most[key] = most_per_instance(candidate, output_factor)
        return self.most[key]


def size_of(candidate: Candidate) -> int:
    """Instances, or units of pools, whose largest load is asked for."""
    return 1 if candidate.scenario.pool else candidate.scenario.cluster.instances


def step_times_of(answer: Answer) -> Kind | None:
    """What kind of step times an answer rests on; None for one whose error was not measured."""
    full = answer.binding is not None and answer.binding.name in ("seats", "memory")
    return kind_of(answer.candidate.instances()[0].latency, full=full)
