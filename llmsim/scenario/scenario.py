"""A scenario as a whole: its tables, and what must hold between them. Names of options are vLLM's where it has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, PrivateAttr, field_validator, model_validator

from llmsim.quantities import Positive
from llmsim.scenario.autoscaling import AutoscalingTable
from llmsim.scenario.cluster import ClusterTable, HostTable, KvTransferTable, PoolTable, RouterChoice, SchedulerChoice
from llmsim.scenario.engines import filled_in
from llmsim.scenario.gateway import (
    ClientsTable,
    Delivery,
    GatewayTable,
    GivingUp,
    ImmediateDelivery,
    NoAbandonmentTable,
)
from llmsim.scenario.measuring import EnergyTable, SloTable, UserTable, WindowTable
from llmsim.scenario.prediction import NoPrediction, PredictionTable
from llmsim.scenario.quality import QualityTable
from llmsim.scenario.speculation import SpeculationTable, checked_length
from llmsim.scenario.table import Table
from llmsim.scenario.users import PatienceTable, RetriesTable
from llmsim.scenario.workload import SyntheticWorkload, TraceWorkload, WorkloadTable

DEFAULT_ROUTER = "round_robin"
#: name of the pool of a scenario without [[pool]]
ONE_POOL = "all"


class Scenario(Table):
    """One experiment, whole: the same scenario always gives the same result."""

    name: str = "scenario"
    seed: Annotated[int, Field(ge=0)] = 0
    #: cut the run off at this time; what is still in the system then is unfinished
    until_s: Positive | None = None
    workload: WorkloadTable = SyntheticWorkload()
    prediction: PredictionTable = NoPrediction()
    #: left out: answers are as good as each other
    quality: QualityTable | None = None
    clients: ClientsTable = ClientsTable()
    cluster: ClusterTable = ClusterTable()
    router: RouterChoice = RouterChoice()
    #: [[pool]] tables; none: the cluster is one pool
    pool: Annotated[tuple[PoolTable, ...], Field(strict=False)] = ()
    kv_transfer: KvTransferTable | None = None
    #: left out: cluster.instances are always there
    autoscaling: AutoscalingTable | None = None
    host: HostTable = HostTable()
    gateway: GatewayTable = GatewayTable()
    scheduler: SchedulerChoice = SchedulerChoice()
    #: left out: a token of each decoding request in a step
    speculation: SpeculationTable | None = None
    patience: PatienceTable = PatienceTable()
    retries: RetriesTable = RetriesTable()
    abandonment: GivingUp = NoAbandonmentTable()
    delivery: Delivery = ImmediateDelivery()
    slo: SloTable = SloTable(ttft_s=1.0, tbt_s=0.1)
    user: UserTable = UserTable()
    #: left out: energy is told where the power of the GPUs was measured
    energy: EnergyTable | None = None
    window: WindowTable = WindowTable()

    #: tables that may stand beside these in a file: what to ask of the experiment, read by commands of their own
    beside: ClassVar[tuple[str, ...]] = ("plan", "sweep")

    @model_validator(mode="before")
    @classmethod
    def _as_the_engine_has_it(cls, given: Any) -> Any:
        return filled_in(given) if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _one_cap(self) -> Scenario:
        if self._concurrency is not None and self.clients.max_in_flight is not None:
            raise ValueError("clients.max_in_flight and closed arrivals exclude each other: concurrency is their cap")
        return self

    @field_validator("pool")
    @classmethod
    def _told_apart(cls, pools: tuple[PoolTable, ...]) -> tuple[PoolTable, ...]:
        names = [pool.name for pool in pools]
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise ValueError(f"two pools are named '{twice[0]}'; expected a name for each")
        return pools

    @model_validator(mode="after")
    def _one_router(self) -> Scenario:
        if self.router.name is not None and self.cluster.router is not None:
            raise ValueError("router.name and cluster.router say the same thing; give one of them")
        return self

    @property
    def router_name(self) -> str:
        """Name of the router."""
        return self.router.name or self.cluster.router or DEFAULT_ROUTER

    @model_validator(mode="after")
    def _whole_when_disaggregated(self) -> Scenario:
        roles = {pool.role for pool in self.pool}
        if not roles & {"prefill", "decode"}:
            if self.kv_transfer is not None:
                raise ValueError("kv_transfer is for pools with role = 'prefill' and 'decode', and there are none")
            return self
        for role in ("prefill", "decode"):
            if role not in roles:
                raise ValueError(f"no pool has role = '{role}'; prefill and decode pools need each other")
        models = {(c.model, c.kv_cache_dtype): p.name for p, c in self.pools if p.role != "mixed"}
        if len(models) > 1:
            (one, first), (two, second) = list(models.items())[:2]
            raise ValueError(
                f"pool '{first}' serves {' '.join(one)} and pool '{second}' {' '.join(two)}: prompts are handed over "
                "between instances of one model; expected the same model and kv_cache_dtype"
            )
        if self.kv_transfer is None:
            raise ValueError("pools for prefill and decode need [kv_transfer] with bandwidth_gb_per_s")
        return self

    @model_validator(mode="after")
    def _instances_within_bounds(self) -> Scenario:
        chosen = self.autoscaling
        if chosen is None:
            return self
        if self.pool:
            raise ValueError("autoscaling is for instances that are all alike; expected [cluster] without [[pool]]")
        first = self.cluster.instances
        if not chosen.min_instances <= first <= chosen.max_instances:
            raise ValueError(
                f"cluster.instances = {first}, those that are ready at the start: expected from "
                f"autoscaling.min_instances = {chosen.min_instances} to max_instances = {chosen.max_instances}"
            )
        return self

    @model_validator(mode="after")
    def _classes_accept(self) -> Scenario:
        for each in self.workload.classes:
            if each.acceptance_length is None:
                continue
            if self.speculation is None:
                raise ValueError(f"class '{each.name}' has an acceptance_length, and there is no [speculation]")
            try:
                checked_length(each.acceptance_length, self.speculation.num_speculative_tokens)
            except ValueError as error:
                raise ValueError(f"class '{each.name}': {error}") from None
        return self

    @property
    def speculates(self) -> bool:
        """Whether any tokens are drafted."""
        return self.speculation is not None and self.speculation.num_speculative_tokens > 0

    @property
    def most_instances(self) -> int:
        """How many instances there are at most at once, over all pools."""
        return sum(cluster.instances for _, cluster in self.pools)

    @property
    def pools(self) -> tuple[tuple[PoolTable, ClusterTable], ...]:
        """Every pool, with [cluster] as that pool has it; instances are numbered in this order, pool by pool.

        Of instances that come and go, as many as there may be.
        """
        cluster = self.cluster
        if self.autoscaling is not None:
            cluster = cluster.model_copy(update={"instances": self.autoscaling.max_instances})
        return tuple((pool, pool.over(cluster)) for pool in self.pool or (PoolTable(name=ONE_POOL),))

    @property
    def _concurrency(self) -> int | None:
        if isinstance(self.workload, TraceWorkload):
            return None if self.workload.arrivals is None else self.workload.arrivals.concurrency
        if not isinstance(self.workload, SyntheticWorkload) or self.workload.sessions is not None:
            return None  # users that wait for their answers need no cap
        return self.workload.arrivals.concurrency

    @property
    def max_in_flight(self) -> int | None:
        """Most requests that clients have under way at once; None: no such bound."""
        return self._concurrency or self.clients.max_in_flight

    @property
    def measured_from(self) -> str:
        """What latencies count from: "arrival" or "sent"."""
        return self.clients.measure_from or ("arrival" if self._concurrency is None else "sent")

    _place: Callable[[tuple[str, ...]], str] | None = PrivateAttr(None)

    def __eq__(self, other: object) -> bool:
        """Two scenarios are equal if they describe the same experiment, wherever they were read."""
        return isinstance(other, Scenario) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def place(self, *keys: str) -> str:
        """Say where a value came from, as the start of a message: ``"file.toml, line 7: "``."""
        return self._place(keys) if self._place else ""

    def where(self, *keys: str) -> str:
        """Say where a value came from and its key: ``"file.toml, line 7: cluster.gpu: "``."""
        return f"{self.place(*keys)}{'.'.join(keys)}: "


def tenants_of(scenario: Scenario) -> list[str]:
    """Return the names of the tenants that the classes of requests belong to; none where there are no classes."""
    return list(dict.fromkeys(each.tenant or each.name for each in scenario.workload.classes))
