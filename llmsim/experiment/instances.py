"""The instances of a scenario's pools, with their schedulers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from llmsim import discovery
from llmsim.abandonment import Abandoning, Deadlines
from llmsim.cluster import InstanceSpec
from llmsim.errors import InputError, nearest
from llmsim.experiment.parts import blaming, make_host, make_model, make_slo
from llmsim.experiment.ranks import check_ranks, of_all_batches, of_all_ranks
from llmsim.experiment.speculation import Drafts, make_speculation
from llmsim.latency import hardware
from llmsim.latency.build import find_latency
from llmsim.latency.contract import LatencyModel, LatencySource
from llmsim.latency.gpu import Gpu
from llmsim.latency.host import Host
from llmsim.latency.pipeline import in_stages
from llmsim.scenario import AbandonmentTable, LatencyChoice, Scenario, tenants_of
from llmsim.scenario.engines import ENGINES
from llmsim.scenario.options import make_policy
from llmsim.scheduler import Scheduler
from llmsim.schedulers.sglang import Sglang

Policy = type[Scheduler]
DEFAULT_BUDGET_TOKENS = 8192  #: where a policy has no budget


def make_instances(
    scenario: Scenario, policy: Policy | None = None, source: type[LatencySource] | None = None
) -> list[InstanceSpec]:
    """Describe the instances, pool by pool.

    `policy` takes the place of the scheduler that [scheduler] names, and `source` that of cluster.latency.
    """
    specs: list[InstanceSpec] = []
    for number, (_, cluster) in enumerate(scenario.pools):
        pool = _Pool(scenario, number, make_scheduler(scenario, policy, number))
        specs += [pool.instance(make_latency_source(scenario, number, source))] * cluster.instances
    return specs


class _Pool:
    """One pool of a scenario: what each of its instances is made of."""

    def __init__(self, scenario: Scenario, number: int, scheduler: Scheduler) -> None:
        self._scenario = scenario
        self._number = number
        self._table, self._cluster = scenario.pools[number]
        self._scheduler = scheduler
        # batches of a pipeline are under way together, each of them decided when one has left
        self._asynchronous = self._stages == 1 and async_scheduling(scenario, number, scheduler)
        self._gpu = self._load_gpu()
        model = make_model(scenario, number)
        with self._blaming("data_parallel_size" if self._ranks > 1 else "expert_parallel_size"):
            self._model = model.over(self._gpus, self._cluster.expert_parallel_size, self._ranks)
        with self._blaming("data_parallel_size" if self._ranks > 1 else "pipeline_parallel_size"):
            caching, speculates = self._cluster.prefix_caching, scenario.speculates
            check_ranks(self._ranks, self._stages, scheduler, prefix_caching=caching, speculates=speculates)
        of_host = {field.name for field in dataclasses.fields(Host)}
        self._host_times = make_host(scenario, number).model_dump(include=of_host)

    @property
    def _gpus(self) -> int:
        """Of each instance, or of each of its ranks."""
        return self._cluster.tensor_parallel_size

    @property
    def _stages(self) -> int:
        """Of pipeline parallelism."""
        return self._cluster.pipeline_parallel_size

    @property
    def _ranks(self) -> int:
        """Of attention data parallelism."""
        return self._cluster.data_parallel_size

    def _blaming(self, *names: str) -> AbstractContextManager[None]:
        """Name the first of these keys that the pool says itself, or else the first of them in [cluster]."""
        own = [name for name in names if getattr(self._table, name, None) is not None]
        keys = ("pool", str(self._number), own[0]) if own else ("cluster", names[0])
        return blaming(self._scenario, *keys)

    def _load_gpu(self) -> Gpu:
        with self._blaming("gpu"):
            gpu = hardware.load_gpu(self._cluster.gpu)
        if self._scenario.energy is not None and gpu.power is None:
            raise InputError(
                f"{self._scenario.where('energy')}the power of {gpu.name} is not known; give a GPU file with "
                "power = { idle_w, bytes_w, flop_w, max_w }"
            )
        return gpu

    def instance(self, source: LatencySource) -> InstanceSpec:
        """Describe one instance, with step times from this source."""
        scenario, cluster = self._scenario, self._cluster
        drafts = self._drafts(source)
        blocks = self._kv_blocks(drafts) if cluster.num_gpu_blocks is None else cluster.num_gpu_blocks
        with self._blaming("latency", "tensor_parallel_size", "gpu"):
            gpu_times = source.for_instance(self._gpu, self._model, self._gpus)
        scheduler = self._scheduler.on_gpu(self._gpu.memory_bytes)
        with self._blaming("pipeline_parallel_size"):
            budget = _largest_step_tokens(scheduler)
            gpu_times = in_stages(gpu_times, self._gpu, self._model, self._gpus, self._stages, budget)
        scheduler = of_all_batches(of_all_ranks(scheduler, self._ranks), self._stages)
        speculation = None
        if drafts is not None:
            speculation = make_speculation(
                scenario, scheduler, drafts, gpu_times, self._with_host, asynchronous=self._asynchronous
            )
        latency = self._with_host(gpu_times)
        return InstanceSpec(
            scheduler=with_abandonment(scenario, scheduler, latency, prefix_caching=cluster.prefix_caching),
            latency=latency,
            num_gpu_blocks=blocks * self._ranks,
            block_tokens=cluster.block_size,
            max_model_len=cluster.max_model_len or self._model.max_model_len,
            prefix_caching=cluster.prefix_caching,
            pool=self._table.name,
            role=self._table.role,
            gpus=self._cluster.gpus_per_instance,
            async_scheduling=self._asynchronous,
            speculation=speculation,
        )

    def _drafts(self, source: LatencySource) -> Drafts | None:
        """How tokens are drafted; None: they are not."""
        table = self._scenario.speculation
        if table is None or not self._scenario.speculates:
            return None
        own = None
        if table.draft is not None and table.draft.model is not None:
            with blaming(self._scenario, "speculation", "draft", "model"):
                own = hardware.load_model(table.draft.model)
        return Drafts(table, self._gpu, self._model, self._gpus, source, own)

    def _kv_blocks(self, drafts: Drafts | None) -> int:
        """Blocks that the memory of the GPUs, or of each rank's, has room for, as vLLM or SGLang counts them."""
        scheduler, cluster = self._scheduler, self._cluster
        with self._blaming("model", "tensor_parallel_size", "gpu", "gpu_memory_utilization", "mem_fraction_static"):
            return hardware.kv_blocks(
                self._gpu,
                self._model,
                tensor_parallel_size=self._gpus,
                gpu_memory_utilization=cluster.gpu_memory_utilization,
                block_tokens=cluster.block_size,
                max_num_batched_tokens=_largest_step_tokens(scheduler),
                max_num_seqs=scheduler.most_running,
                drafter=None if drafts is None else drafts.memory(),
                null_blocks=scheduler.null_blocks,
                mem_fraction_static=self._static_share(),
                pipeline_parallel_size=self._stages,
            )

    def _static_share(self) -> float | None:
        """SGLang's share of memory for weights and KV; None: gpu_memory_utilization says, in the pool at last."""
        table = self._table
        own = getattr(table, "mem_fraction_static", None)
        if own is None and getattr(table, "gpu_memory_utilization", None) is not None:
            return None
        share = self._cluster.mem_fraction_static
        if share is None or isinstance(share, float):
            return share
        if not isinstance(self._scheduler, Sglang):
            raise InputError(
                "mem_fraction_static = auto: SGLang derives it, and the scheduler is another; give a number"
            )
        return self._scheduler.mem_fraction_static(self._gpu.memory_bytes, self._gpus)

    def _with_host(self, latency: LatencyModel, query_tokens: float = 1) -> LatencyModel:
        """Add the host's time to that of steps in which each sequence has so many query tokens."""
        times = self._host_times
        if not any(value for name, value in times.items() if name.endswith("_s")):
            return latency
        if self._stages > 1:
            times = {**times, "step_s": self._stages * times["step_s"]}  # for each batch
        overlapped = self._asynchronous or self._stages > 1
        return Host(latency, **times, overlapped=overlapped, query_tokens=query_tokens, ranks=self._ranks)


def _largest_step_tokens(scheduler: Scheduler) -> int:
    """Tokens of the step that memory is set aside for: its token budget, or without one vLLM's on large GPUs."""
    budget: int | None = getattr(scheduler, "max_num_batched_tokens", None)
    return budget or DEFAULT_BUDGET_TOKENS


def make_latency_source(
    scenario: Scenario, number: int = 0, policy: type[LatencySource] | None = None
) -> LatencySource:
    """Make what tells step times in a pool, by its number: cluster.latency, or what the pool says instead.

    `policy` takes the place of the one that cluster.latency names, also in pools that name the same.
    """
    own = scenario.pool[number].latency if scenario.pool else None
    chosen, prefix = (
        (own, ("pool", str(number), "latency")) if own else (scenario.cluster.latency, ("cluster", "latency"))
    )
    if policy is None or chosen.name != scenario.cluster.latency.name:
        with blaming(scenario, *prefix):
            policy = find_latency(chosen.name)
    return make_policy(policy, chosen.options, lambda keys: scenario.place(*keys), prefix, LatencyChoice.model_fields)


def async_scheduling(scenario: Scenario, number: int, scheduler: Scheduler | None = None) -> bool:
    """Whether the engines of a pool schedule asynchronously: as the pool says, or [scheduler].

    Left out in both: as cluster.engine has it, or the policy; `scheduler`: that of the pool, if it is made already.
    """
    own = scenario.pool[number].scheduler.async_scheduling if scenario.pool else None
    chosen = scenario.scheduler.async_scheduling if own is None else own
    if chosen is not None:
        return chosen
    table = scenario.speculation
    if table is not None and scenario.speculates and (table.method == "ngram" or table.changes):
        return False  # as vLLM, which looks n-grams up between steps
    engine = ENGINES.get(scenario.cluster.engine or "")
    if engine is not None:
        return engine.async_scheduling
    return (scheduler or make_scheduler(scenario, number=number)).async_scheduling


def make_scheduler(scenario: Scenario, policy: Policy | None = None, number: int = 0) -> Scheduler:
    """Make the scheduler of a pool, by its number: [scheduler]'s, with what the pool says otherwise.

    `policy` takes the place of the one that [scheduler] names, also in pools that name the same.
    """
    of_pool = scenario.pool[number].scheduler if scenario.pool else None
    shared = scenario.scheduler
    if of_pool is None or of_pool.name in (None, shared.name):
        scheduler = _scheduler(scenario, number, policy, shared.name, shared.options, ("scheduler",))
        if of_pool is None or not of_pool.options:
            return scheduler
        options = shared.options | of_pool.options
        return _scheduler(scenario, number, type(scheduler), shared.name, options, ("pool", str(number), "scheduler"))
    assert of_pool.name is not None
    return _scheduler(scenario, number, None, of_pool.name, of_pool.options, ("pool", str(number), "scheduler"))


def _scheduler(
    scenario: Scenario,
    number: int,
    policy: Policy | None,
    name: str,
    options: Mapping[str, Any],
    prefix: tuple[str, ...],
) -> Scheduler:
    if policy is None:
        with blaming(scenario, *prefix, "name"):
            policy = discovery.find("llmsim.schedulers", name, Scheduler)
    if policy.needs_prediction and scenario.prediction.predictor == "none":
        raise InputError(
            f"{scenario.where(*prefix, 'name')}{name} needs predicted output lengths; "
            "expected a [prediction] table, such as predictor = 'noisy' with sigma = 0.5"
        )
    options = _by_engine(scenario, number, policy, options) | dict(options)
    made = make_policy(policy, options, lambda keys: scenario.place(*keys), prefix)
    if made.needs_speculation and not scenario.speculates:
        raise InputError(
            f"{scenario.where(*prefix, 'name')}{name} decides how many tokens each request drafts; expected "
            "[speculation] with num_speculative_tokens of at least 1"
        )
    if made.needs_slo:
        _check_slos(scenario, name, (*prefix, "name"))
    if made.needs_tenants:
        _check_tenants(scenario, name, made, (*prefix, "name"))
    pool = scenario.pools[number][0]
    if made.needs_whole_requests and pool.role != "mixed":
        raise InputError(
            f"{scenario.where(*prefix, 'name')}{name} must serve requests from prompt to last token; pool "
            f"'{pool.name}' has role = '{pool.role}', expected 'mixed'"
        )
    return made


def _check_slos(scenario: Scenario, policy: str, keys: tuple[str, ...]) -> None:
    """Refuse a policy of SLOs where requests declare no bound on the first token, or none on the time per token."""
    of = {f"class '{each.name}'": make_slo(scenario, each) for each in scenario.workload.classes}
    for name, slo in (of or {"[slo]": make_slo(scenario)}).items():
        if slo.ttft_s is None or slo.per_token_s is None:
            given = ", ".join(f"{bound} = {value:g}" for bound, value in slo.given().items())
            raise InputError(
                f"{scenario.where(*keys)}{policy} goes by ttft_s and one of tpot_s, tbt_s and "
                f"token_deadline_s; {name} has {given}"
            )


def _check_tenants(scenario: Scenario, name: str, policy: Scheduler, keys: tuple[str, ...]) -> None:
    """Refuse a policy of tenants where there are none, or others than it names."""
    tenants = tenants_of(scenario)
    if not tenants:
        raise InputError(
            f"{scenario.where(*keys)}{name} shares service out between tenants; expected [[workload.classes]], each "
            "with a name, or a tenant"
        )
    for named in policy.tenants_named():
        if named not in tenants:
            raise InputError(f"{scenario.where(*keys[:-1])}no class has the tenant '{named}'{nearest(named, tenants)}")


def _by_engine(scenario: Scenario, number: int, policy: Policy, given: Mapping[str, Any]) -> dict[str, Any]:
    """What cluster.engine says of a scheduler's options on a pool's GPU: of its own scheduler, or one made of it.

    There are no more seats than a budget that was given has tokens.
    """
    engine = ENGINES.get(scenario.cluster.engine or "")
    if engine is None or not issubclass(policy, discovery.find("llmsim.schedulers", engine.scheduler, Scheduler)):
        return {}
    with blaming(scenario, "cluster", "gpu"):
        options = engine.options(hardware.load_gpu(scenario.pools[number][1].gpu))
    budget = given.get("max_num_batched_tokens")
    if isinstance(budget, int) and "max_num_seqs" in options:
        options["max_num_seqs"] = min(budget, options["max_num_seqs"])
    return options


def with_abandonment(
    scenario: Scenario, scheduler: Scheduler, latency: LatencyModel, *, prefix_caching: bool = False
) -> Scheduler:
    """Put the wrapper that gives up on requests around a scheduler, if the scenario asks for it."""
    chosen = scenario.abandonment
    if not isinstance(chosen, AbandonmentTable):
        return scheduler
    slo = scenario.slo
    deadlines = Deadlines(chosen.ttft_s or slo.ttft_s, chosen.e2e_s or slo.e2e_s, chosen.tokens_per_s)
    if deadlines == Deadlines():
        raise InputError(
            f"{scenario.where('abandonment')}no deadline to miss; expected ttft_s, e2e_s or tokens_per_s, "
            "or slo.ttft_s or slo.e2e_s"
        )
    foresee = latency if chosen.policy == "must_miss" else None
    wrapped = Abandoning(scheduler, deadlines, waiting=chosen.waiting, running=chosen.running, foresee=foresee)
    if foresee is not None and prefix_caching:
        wrapped.asks_every_step = True  # decoding evicts what waiting requests would have found
    return wrapped
