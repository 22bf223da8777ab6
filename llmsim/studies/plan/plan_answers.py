"""What a plan found: for each candidate the last that carries the load, and its neighbour that does not; the best."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmsim.scenario import Scenario
from llmsim.studies.plan.binding import Binding
from llmsim.studies.plan.by_phase import Phase
from llmsim.studies.plan.candidates import Candidate
from llmsim.studies.plan.certainty import ModelCertainty
from llmsim.studies.plan.evaluate import FAILS, Evaluation
from llmsim.studies.plan.measured_runs import PAID_USD_PER_HOUR
from llmsim.studies.plan.plan_question import Question
from llmsim.studies.plan.tornado import Tornado


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
    days: tuple[Phase, ...] = ()  #: what users of the best answer see in each phase of the period
    autoscaled_days: tuple[Phase, ...] = ()  #: likewise of instances that come and go
    certainty: ModelCertainty | None = None  #: of the best, with the error of its step times; None: not known
    tornado: Tornado | None = None  #: which assumptions move the best answer; None: not asked for

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
