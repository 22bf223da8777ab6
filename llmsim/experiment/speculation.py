"""How the instances of a scenario speculate, and how much of what is drafted their requests accept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsim.acceptance import PER_TOKEN
from llmsim.engine.speculation.rule import MostGoodput, Speculation
from llmsim.errors import InputError
from llmsim.experiment.parts import blaming
from llmsim.latency import hardware
from llmsim.latency.acceptances import acceptance_lengths
from llmsim.latency.contract import LatencyModel, LatencySource
from llmsim.latency.gpu import Gpu
from llmsim.latency.kv_memory import Drafter, kv_bytes_per_gpu, weight_bytes_per_gpu
from llmsim.latency.sources.constant import Constant
from llmsim.latency.speculative import Drafting, mean_query_tokens
from llmsim.scenario import Scenario
from llmsim.scenario.speculation import DrafterTable, SpeculationTable
from llmsim.scheduler import Scheduler
from llmsim.workload.acceptance import Acceptance, draw, draw_steps
from llmsim.workload.contract import Workload

#: a head that knows all of the model's tokens
ONE_LAYER = DrafterTable(layers=1)


@dataclass(frozen=True)
class Drafts:
    """What drafts tokens for a model on so many GPUs, and how long steps take with that."""

    table: SpeculationTable
    gpu: Gpu
    model: hardware.Model
    gpus: int
    source: LatencySource
    own_model: hardware.Model | None  #: the drafter, where it is a model of its own

    @property
    def _drafter(self) -> DrafterTable | None:
        return None if self.table.method == "ngram" else self.table.draft or ONE_LAYER

    @property
    def _share(self) -> float:
        """Layers of the head, in those of the model."""
        drafter = self._drafter
        return 0.0 if drafter is None or drafter.layers is None else drafter.layers / self.model.num_hidden_layers

    def memory(self) -> Drafter | None:
        """What it takes of each GPU's memory; None: nothing that is known."""
        drafter = self._drafter
        if drafter is None or drafter.step_s is not None:
            return None
        model = self.own_model or self.model
        share = self._share or 1.0
        return Drafter(share * weight_bytes_per_gpu(model, self.gpus), share * kv_bytes_per_gpu(model, self.gpus))

    def times(self, model: LatencyModel) -> Callable[[Mapping[int, int]], LatencyModel]:
        """Step times in which so many sequences draft so many tokens (tokens -> sequences), and verify them."""
        drafter = self._drafter
        if drafter is None or drafter.step_s == 0:
            return lambda mix: model.speculating(mean_query_tokens(mix)) if any(mix) else model
        if drafter.layers is not None:
            head = 1.0 if drafter.vocab_size is None else drafter.vocab_size / self.model.vocab_size
            whole, of_head = model.with_layers(1 + self._share, 1 + head), model.with_layers(self._share, head)
            return lambda mix: Drafting.of_layers(whole, of_head, mix) if any(mix) else model
        of_its_own: LatencyModel = (
            Constant(drafter.step_s or 0.0, 0.0, 0.0)
            if self.own_model is None
            else self.source.for_instance(self.gpu, self.own_model, self.gpus)
        )
        return lambda mix: Drafting.mixed(model, of_its_own, mix) if any(mix) else model


def make_speculation(
    scenario: Scenario,
    scheduler: Scheduler,
    drafts: Drafts,
    latency: LatencyModel,
    with_host: Callable[[LatencyModel, float], LatencyModel],
    *,
    asynchronous: bool,
) -> Speculation:
    """Say how an instance speculates; `with_host` adds the host's time to that of steps of so many query tokens.

    InputError where its scheduler, its step times or its token budget do not go with that.
    """
    table = drafts.table
    _check(scenario, scheduler, table, asynchronous=asynchronous)
    with blaming(scenario, "speculation"):
        numbers = {k for _, k in table.by_batch} | {table.num_speculative_tokens}
        if table.adapt == "goodput" or scheduler.chooses_drafts:
            numbers = set(range(table.num_speculative_tokens + 1))
        times_of = drafts.times(latency)

        def times_with_host(mix: Mapping[int, int]) -> LatencyModel:
            return with_host(times_of(mix), mean_query_tokens(mix))

        times = {k: times_with_host({k: 1}) for k in sorted(numbers)}
    if scheduler.chooses_drafts:
        return Speculation(table.by_batch, table.lookahead, times, mixed=times_with_host)
    if table.adapt == "goodput":
        return MostGoodput(table.by_batch, table.lookahead, times, tuple(_mean_lengths(scenario, table)))
    return Speculation(table.by_batch, table.lookahead, times)


def _mean_lengths(scenario: Scenario, table: SpeculationTable) -> Sequence[float]:
    """Acceptance lengths of all requests, as an engine learns them; of classes without weights each counts alike."""
    classes = scenario.workload.classes
    if not classes:
        return _lengths(table)
    weights = np.array([each.weight or 1.0 for each in classes])
    each: NDArray[np.float64] = np.array(_lengths_of_classes(scenario, table))
    return [float(length) for length in (weights[:, None] * each).sum(axis=0) / weights.sum()]


def _lengths_of_classes(scenario: Scenario, table: SpeculationTable) -> list[Sequence[float]]:
    """Acceptance lengths of each class, of one where there are none."""
    with blaming(scenario, "speculation", "acceptance"):
        shared = _lengths(table)
    own = [each.acceptance_length for each in scenario.workload.classes]
    return [shared if length is None else _capped(table, length) for length in own] or [shared]


def _check(scenario: Scenario, scheduler: Scheduler, table: SpeculationTable, *, asynchronous: bool) -> None:
    where, name = scenario.where("speculation"), type(scheduler).__name__
    if not scheduler.honours_speculation:
        raise InputError(
            f"{where}{name} does not count drafted tokens; expected adaserve, chunked_prefill, priority, slos_serve or "
            "static"
        )
    named = "adapt" if table.adapt is not None else "num_speculative_tokens_per_batch_size"
    if scheduler.chooses_drafts:
        if table.changes or table.acceptance_kind == "random":
            named = named if table.changes else "acceptance_kind = 'random'"
            raise InputError(f"{where}{name} decides itself how many tokens each request drafts; leave {named} out")
        if asynchronous:
            raise InputError(f"{where}{name} goes with scheduler.async_scheduling = false")
    if asynchronous and (table.method == "ngram" or table.changes):
        named = "method = 'ngram'" if table.method == "ngram" else named
        raise InputError(f"{where}{named} goes with scheduler.async_scheduling = false")
    if scenario.kv_transfer is not None:
        raise InputError(
            f"{where}pools that hand requests over do not speculate here; expected pools with role = 'mixed', or no "
            "speculation"
        )
    if scenario.abandonment.policy == "must_miss":
        raise InputError(f"{where}abandonment.policy = 'must_miss' foresees a token a step; expected 'missed'")
    budget, seats = getattr(scheduler, "max_num_batched_tokens", None), scheduler.most_running
    first = 1
    for last, drafts in table.by_batch:
        most = seats if (last, drafts) == table.by_batch[-1] else min(last, seats or last)
        if budget and most and most >= first and most * (1 + drafts) > budget:
            raise InputError(
                f"{where}{most} requests that draft {drafts} tokens each compute {most * (1 + drafts)} in a step, more "
                f"than max_num_batched_tokens = {budget}; raise that, or lower max_num_seqs"
            )
        first = last + 1


def make_acceptance(scenario: Scenario, rng: np.random.Generator, requests: Workload) -> Acceptance | None:
    """Draw where in their rhythm requests are; None: nothing is drafted."""
    table = scenario.speculation
    if table is None or not scenario.speculates:
        return None
    lengths = _lengths_of_classes(scenario, table)
    of_request = np.zeros(len(requests), np.int64) if requests.classes is None else requests.classes.of_request
    drawn = draw_steps if table.acceptance_kind == "random" else draw
    return drawn(rng, [_hundredths(each) for each in lengths], of_request, table.num_speculative_tokens)


def _lengths(table: SpeculationTable) -> Sequence[float]:
    """Acceptance lengths for 0 drafted tokens and more."""
    if table.acceptance is not None:
        return acceptance_lengths(table.acceptance, table.num_speculative_tokens)
    if table.acceptance_rates is not None:
        return [1 + sum(table.acceptance_rates[:k]) for k in range(table.num_speculative_tokens + 1)]
    assert table.acceptance_length is not None
    return _capped(table, table.acceptance_length)


def _capped(table: SpeculationTable, length: float) -> Sequence[float]:
    """The same with fewer drafted tokens than a length is given for: vLLM accepts the first ones always."""
    return [min(length, 1.0 + k) for k in range(table.num_speculative_tokens + 1)]


def _hundredths(lengths: Sequence[float]) -> list[int]:
    return [round(length * PER_TOKEN) for length in lengths]
