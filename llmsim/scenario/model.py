"""The fields of a scenario. Names of options are vLLM's where vLLM has the option."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AliasChoices, ConfigDict, Discriminator, Field, PrivateAttr, Tag, field_validator, model_validator

from llmsim.scenario.autoscaling import Autoscaling
from llmsim.scenario.pools import KvTransfer, Pool, RouterChoice
from llmsim.scenario.requests import Classes, NoPrediction, Prediction, ServeGenWorkload, Slo
from llmsim.scenario.table import Count, MeanTokens, NotNegative, Positive, Table
from llmsim.scenario.users import Patience, Retries, Sessions

DEFAULT_ROUTER = "round_robin"
#: name of the pool of a scenario without [[pool]]
ONE_POOL = "all"


class PoissonArrivals(Table):
    """Exponential gaps."""

    process: Literal["poisson"] = "poisson"
    rate_per_s: Positive


class GammaArrivals(Table):
    """Gamma gaps; `burstiness` is their shape, as in vLLM's benchmark: below 1 is burstier than Poisson."""

    process: Literal["gamma"] = "gamma"
    rate_per_s: Positive
    burstiness: Positive


class ConstantArrivals(Table):
    """Equal gaps."""

    process: Literal["constant"] = "constant"
    rate_per_s: Positive


class OnOffArrivals(Table):
    """Poisson while on, silent while off; `rate_per_s` is the mean over both."""

    process: Literal["on_off"] = "on_off"
    rate_per_s: Positive
    on_s: Positive
    off_s: NotNegative


class PiecewiseArrivals(Table):
    """Poisson at a rate that changes: `rates_per_s[i]` from `from_s[i]` on, begun anew every `period_s`."""

    process: Literal["piecewise"] = "piecewise"
    from_s: Annotated[tuple[NotNegative, ...], Field(min_length=1, strict=False)]
    rates_per_s: Annotated[tuple[NotNegative, ...], Field(min_length=1, strict=False)]
    period_s: Positive | None = None


class DiurnalArrivals(Table):
    """Poisson at the rate of a day: `rate_per_s` on average, (1 + amplitude) times that at its peak."""

    process: Literal["diurnal"] = "diurnal"
    rate_per_s: Positive
    amplitude: Annotated[float, Field(ge=0, le=1)]
    period_s: Positive = 86_400.0
    peak_s: NotNegative = 43_200.0


class ClosedArrivals(Table):
    """Closed loop: so many clients, each of whom sends its next request as soon as it has the last one's answer."""

    process: Literal["closed"] = "closed"
    concurrency: Count


class FixedLengths(Table):
    """Every request has the same lengths."""

    source: Literal["fixed"] = "fixed"
    prompt_tokens: Count
    output_tokens: Count


class LognormalLengths(Table):
    """Independent log-normal lengths; cv = standard deviation / mean. Draws beyond a bound are set to it."""

    source: Literal["lognormal"] = "lognormal"
    prompt_mean_tokens: MeanTokens
    prompt_cv: Positive = 1.0
    output_mean_tokens: MeanTokens
    output_cv: Positive = 1.0
    prompt_max_tokens: Count | None = None
    output_max_tokens: Count | None = None


class TrafficLengths(Table):
    """Lengths drawn from the shipped quantiles of real traffic; long prompts keep their kind of output."""

    source: Literal["azure_conv", "azure_code", "sharegpt", "arxiv_summarization"] = "sharegpt"


Arrivals = Annotated[
    PoissonArrivals
    | GammaArrivals
    | ConstantArrivals
    | OnOffArrivals
    | PiecewiseArrivals
    | DiurnalArrivals
    | ClosedArrivals,
    Field(discriminator="process"),
]
Lengths = Annotated[FixedLengths | LognormalLengths | TrafficLengths, Field(discriminator="source")]


class SharedPrefixes(Table):
    """What stands before every drawn prompt: one of a few system prompts, then what is known of one of its users."""

    system_prompts: Count = 1
    system_tokens: Count
    #: users of each system prompt, every one with a text of user_tokens of their own
    users: Count = 1
    user_tokens: Annotated[int, Field(ge=0, le=10**9)] = 0
    #: who asks next: anybody, or all users in turn
    order: Literal["random", "cycle"] = "random"

    @model_validator(mode="after")
    def _users_differ(self) -> SharedPrefixes:
        if self.users > 1 and self.user_tokens == 0:
            raise ValueError(f"{self.users} users with user_tokens = 0 cannot be told apart; expected at least 1")
        return self


class SyntheticWorkload(Table):
    """Requests drawn at random."""

    requests: Count = 1000
    arrivals: Arrivals = PoissonArrivals(rate_per_s=1.0)
    lengths: Lengths = TrafficLengths()
    classes: Classes = ()
    #: prepended to the prompts of `lengths`
    prefixes: SharedPrefixes | None = None
    #: conversations; left out, each request stands alone
    sessions: Sessions | None = None

    @model_validator(mode="after")
    def _sessions_fit(self) -> SyntheticWorkload:
        if self.sessions is None:
            return self
        if self.prefixes is not None:
            raise ValueError("prefixes and sessions exclude each other: what turns share is their history")
        if self.sessions.pause is not None and not isinstance(self.arrivals, ClosedArrivals):
            raise ValueError("sessions.pause belongs to closed arrivals, whose users have many conversations")
        return self


class TraceWorkload(Table):
    """Requests read from a file: all, or a window, or the first `limit` (alias `requests`) of that."""

    trace: str = Field(description="give the file with --set workload.trace=PATH")
    format: Literal["auto", "azure", "mooncake", "csv", "jsonl"] = "auto"
    rate_scale: Positive = 1.0
    start_s: NotNegative = 0.0
    duration_s: Positive | None = None
    limit: Count | None = Field(None, validation_alias=AliasChoices("limit", "requests"))
    classes: Classes = ()


#: keys that name what a workload is read from
WORKLOAD_FILES = ("trace", "servegen")
SYNTHETIC_KEYS = SyntheticWorkload.model_fields.keys() - TraceWorkload.model_fields.keys()
TRACE_KEYS = TraceWorkload.model_fields.keys() - SyntheticWorkload.model_fields.keys()


def _kind_of_workload(table: Any) -> str:
    """Name the variant, so that messages speak of the keys of one kind only."""
    if not isinstance(table, Mapping):
        if isinstance(table, TraceWorkload):
            return "trace"
        return "servegen" if isinstance(table, ServeGenWorkload) else "synthetic"
    if file := next((key for key in WORKLOAD_FILES if key in table), None):
        return file
    return "trace" if TRACE_KEYS & table.keys() and not SYNTHETIC_KEYS & table.keys() else "synthetic"


Workload = Annotated[
    Annotated[SyntheticWorkload, Tag("synthetic")]
    | Annotated[TraceWorkload, Tag("trace")]
    | Annotated[ServeGenWorkload, Tag("servegen")],
    Discriminator(_kind_of_workload),
]


class Cluster(Table):
    """Identical instances behind one router."""

    gpu: str = "a100-sxm4-80gb"
    model: str = "llama-3.1-8b"
    instances: Annotated[int, Field(ge=1, le=100_000)] = 1
    tensor_parallel_size: Count = 1
    latency: Literal["table", "roofline"] = "table"
    #: short for router.name; without either, DEFAULT_ROUTER
    router: str | None = None
    #: KV blocks of one instance; left out, they follow from GPU, model and gpu_memory_utilization
    num_gpu_blocks: Count | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    block_size: Annotated[int, Field(ge=1, le=4096)] = 16
    #: keep KV blocks for requests that begin alike (vLLM's --enable-prefix-caching)
    prefix_caching: bool = False
    #: longer requests are rejected
    max_model_len: Count | None = None


class Clients(Table):
    """The senders of the requests."""

    #: most requests in flight; the others wait at the client, as behind --max-concurrency of vLLM's benchmark
    max_in_flight: Count | None = None
    #: latencies count from a request's arrival at the client, or from its sending, as benchmarks count; left out:
    #: "sent" in a closed loop, "arrival" otherwise
    measure_from: Literal["arrival", "sent"] | None = None


class Host(Table):
    """Time outside the GPU: a profile (hardware_profiles/hosts/NAME.toml, or a .toml file), and changes to it."""

    profile: str | None = None
    #: the engine, for each step
    step_s: NotNegative | None = None
    #: the engine, for each sequence in a step
    sequence_s: NotNegative | None = None
    #: the API server, from a request's sending to its entering the engine's queue
    request_s: NotNegative | None = None
    #: as much again for each token of the prompt
    prompt_token_s: NotNegative | None = None
    #: the API server, from a token's emission to its reaching the client
    response_s: NotNegative | None = None
    #: before that, the API server's sender for each output token of an instance, one after the other
    output_token_s: NotNegative | None = None
    #: the engine, for each step of more tokens than its largest CUDA graph, whose kernels the host launches one by one
    eager_step_s: NotNegative | None = None
    #: tokens of the largest graph; vLLM's default is min(2 x max_num_seqs, 512)
    max_cudagraph_capture_size: Count | None = None


class Gateway(Table):
    """The limits of what stands between clients and engines; its times are those of [host] but step_s, sequence_s."""

    #: most requests that it lets through at once; the others queue, before the router sees them
    max_concurrency: Count | None = None
    #: most requests in that queue; further ones are rejected
    max_queue: Annotated[int, Field(ge=0, le=10**9)] | None = None

    @model_validator(mode="after")
    def _queue_needs_a_limit(self) -> Gateway:
        if self.max_queue is not None and self.max_concurrency is None:
            raise ValueError("max_queue without max_concurrency: nobody would ever queue; expected both")
        return self


class SchedulerChoice(Table):
    """A policy's name; every other key is an option of that policy and checked against it."""

    model_config = ConfigDict(extra="allow")

    name: str = "chunked_prefill"

    @property
    def options(self) -> dict[str, Any]:
        """The policy's options as given."""
        return dict(self.model_extra or {})


class User(Table):
    """The reader behind smooth goodput (arXiv 2410.14257, eqs. 9 to 11), and the paper's open choices."""

    tokens_per_s: Positive = 5.0
    alpha: NotNegative = 2.5
    anchor: Literal["arrival", "first_token"] = "arrival"
    #: response delay that the reader tolerates
    offset_s: NotNegative = 0.0
    #: 1: the first token is due one reading interval after the anchor; 0: at the anchor
    index_base: Literal[0, 1] = 1
    penalty: Literal["linear", "tokens", "quadratic", "clipped", "saturating", "indicator"] = "linear"
    #: how long a reader whose request was dropped is taken to wait
    charge: Literal["until_drop", "until_patience", "until_run_end"] = "until_run_end"
    patience_s: Positive | None = None


class Window(Table):
    """Which requests count, and over what time rates divide: arrivals between two times, or everything."""

    kind: Literal["arrivals", "makespan"] = "arrivals"
    start_s: NotNegative | None = None
    end_s: Positive | None = None


class NoAbandonment(Table):
    """The server serves everybody, however late."""

    policy: Literal["never"] = "never"


class Abandonment(Table):
    """The server gives up on requests: once they have missed a deadline, or as soon as they must."""

    policy: Literal["missed", "must_miss"]
    #: give up on requests that wait
    waiting: bool = True
    #: give up on requests that run
    running: bool = True
    #: the first token's deadline after the arrival; [slo]'s if not given
    ttft_s: Positive | None = None
    #: the last token's deadline after the arrival; [slo]'s if not given
    e2e_s: Positive | None = None
    #: token i is due i / tokens_per_s after the arrival
    tokens_per_s: Positive | None = None

    @model_validator(mode="after")
    def _somebody(self) -> Abandonment:
        if not (self.waiting or self.running):
            raise ValueError("waiting and running are both false: nobody would be given up; expected one of them")
        return self


class ImmediateDelivery(Table):
    """Users get each token as it is emitted."""

    policy: Literal["immediate"] = "immediate"


class PacedDelivery(Table):
    """The gateway holds tokens back: to a gap (`tbt_s`) or a rate from the first token on (`tokens_per_s`)."""

    policy: Literal["paced"] = "paced"
    tbt_s: Positive | None = None
    tokens_per_s: Positive | None = None
    #: hold the first token until this long after the arrival
    ttft_s: NotNegative = 0.0

    @model_validator(mode="after")
    def _one_pace(self) -> PacedDelivery:
        if self.tbt_s is not None and self.tokens_per_s is not None:
            raise ValueError("tbt_s and tokens_per_s exclude each other; give one of them")
        if self.tbt_s is None and self.tokens_per_s is None and self.ttft_s == 0:
            raise ValueError("policy 'paced' needs tbt_s, tokens_per_s or ttft_s")
        return self


GivingUp = Annotated[NoAbandonment | Abandonment, Field(discriminator="policy")]
Delivery = Annotated[ImmediateDelivery | PacedDelivery, Field(discriminator="policy")]


class Scenario(Table):
    """One experiment, whole: the same scenario always gives the same result."""

    name: str = "scenario"
    seed: Annotated[int, Field(ge=0)] = 0
    #: cut the run off at this time; what is still in the system then is unfinished
    until_s: Positive | None = None
    workload: Workload = SyntheticWorkload()
    prediction: Prediction = NoPrediction()
    clients: Clients = Clients()
    cluster: Cluster = Cluster()
    router: RouterChoice = RouterChoice()
    #: [[pool]] tables; none: the cluster is one pool
    pool: Annotated[tuple[Pool, ...], Field(strict=False)] = ()
    kv_transfer: KvTransfer | None = None
    #: left out: cluster.instances are always there
    autoscaling: Autoscaling | None = None
    host: Host = Host()
    gateway: Gateway = Gateway()
    scheduler: SchedulerChoice = SchedulerChoice()
    patience: Patience = Patience()
    retries: Retries = Retries()
    abandonment: GivingUp = NoAbandonment()
    delivery: Delivery = ImmediateDelivery()
    slo: Slo = Slo(ttft_s=1.0, tbt_s=0.1)
    user: User = User()
    window: Window = Window()

    #: tables that may stand beside these in a file: what to ask of the experiment, read by commands of their own
    beside: ClassVar[tuple[str, ...]] = ("plan", "sweep")

    @model_validator(mode="after")
    def _one_cap(self) -> Scenario:
        if self._concurrency is not None and self.clients.max_in_flight is not None:
            raise ValueError("clients.max_in_flight and closed arrivals exclude each other: concurrency is their cap")
        return self

    @field_validator("pool")
    @classmethod
    def _told_apart(cls, pools: tuple[Pool, ...]) -> tuple[Pool, ...]:
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

    @property
    def most_instances(self) -> int:
        """How many instances there are at most at once, over all pools."""
        return sum(cluster.instances for _, cluster in self.pools)

    @property
    def pools(self) -> tuple[tuple[Pool, Cluster], ...]:
        """Every pool, with [cluster] as that pool has it; instances are numbered in this order, pool by pool.

        Of instances that come and go, as many as there may be.
        """
        cluster = self.cluster
        if self.autoscaling is not None:
            cluster = cluster.model_copy(update={"instances": self.autoscaling.max_instances})
        return tuple((pool, pool.over(cluster)) for pool in self.pool or (Pool(name=ONE_POOL),))

    @property
    def _concurrency(self) -> int | None:
        arrivals = getattr(self.workload, "arrivals", None)
        if not isinstance(arrivals, ClosedArrivals) or getattr(self.workload, "sessions", None) is not None:
            return None  # users who wait for their answers need no cap
        return arrivals.concurrency

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
