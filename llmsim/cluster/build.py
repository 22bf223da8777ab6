"""Builds a cluster from a workload, instances and options; `simulate` builds one and runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from llmsim.cluster.admission import Door, OpenDoor
from llmsim.cluster.autoscaling import Autoscaler
from llmsim.cluster.clients import Clients
from llmsim.cluster.cluster import Cluster
from llmsim.cluster.dispatch import Dispatcher
from llmsim.cluster.fleet import Fleet
from llmsim.cluster.gateway import Entrance, NoLimit, SenderQueue, WayOut
from llmsim.cluster.path import RequestPath, Straight, WayIn
from llmsim.cluster.patience import Impatience, NoPatience
from llmsim.cluster.spec import DEFAULTS, InstanceSpec, RunOptions
from llmsim.cluster.users import Users
from llmsim.engine.block_paths import BlockPaths
from llmsim.engine.clock import Clock
from llmsim.engine.exchange import Disaggregation, Exchange, Network
from llmsim.engine.instance import Instance, Observers
from llmsim.engine.memory import KVMemory
from llmsim.engine.prefix_cache import PrefixCache
from llmsim.engine.radix_cache import RadixCache, SpansOfRequests
from llmsim.engine.recorder import Recorder, SpeculativeRecorder
from llmsim.errors import InputError
from llmsim.record import Floats, Record
from llmsim.request import Request
from llmsim.router import Router
from llmsim.scheduler import no_nan
from llmsim.workload.contract import Workload


def simulate(
    workload: Workload,
    instances: Sequence[InstanceSpec],
    router: Router,
    rng: np.random.Generator,
    options: RunOptions = DEFAULTS,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Record:
    """Serve a workload and return what happened.

    `rng` is the router's stream. `on_progress` is told now and then how many requests have ended.

    Raises `PolicyError` if a scheduler decides what cannot be, or lets requests wait for ever.
    """
    return build_cluster(workload, instances, router, rng, options, on_progress=on_progress).run(options.until_s)


def build_cluster(
    workload: Workload,
    specs: Sequence[InstanceSpec],
    router: Router,
    rng: np.random.Generator,
    options: RunOptions = DEFAULTS,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Cluster:
    """Make the parts of a run. Raises `InputError` if they do not go together, or no request arrives."""
    requests = _arriving(workload, options.until_s)
    for policy in (router, *(spec.scheduler for spec in specs)):
        no_nan(policy)
    _check(workload, specs, options)
    users = Users(requests, workload.sessions, options.retries, options.escalation)
    base = _Base.of(workload.repeated(requests, users.attempts), users, specs, rng, options, on_progress)
    clients = _clients(base)
    way_out = _way_out(base, clients)
    memories = _memories(specs, base.attempts, asked=_ask_caches(router, options))
    instances = _instances(base, way_out, memories, asked="plans" in router.reads)
    fleet = _fleet(base, [each for each, spec in zip(instances, specs, strict=True) if spec.role != "decode"])
    if options.disaggregation is not None:
        _disaggregate(base, options.disaggregation, instances)
    autoscaler = None if options.autoscaling is None else Autoscaler(base.clock, fleet, options.autoscaling)
    arrivals = Dispatcher(base.clock, router, fleet, None if autoscaler is None else autoscaler.ready)
    queued_s = _connect(base, clients, way_out, arrivals, autoscaler)
    fleet.eager = _needs_events(router, options, clients)
    for instance in instances:
        instance.start(eager=fleet.eager, until_s=inf if options.until_s is None else options.until_s)
    return Cluster(
        workload=workload,
        attempts=base.attempts,
        users=users,
        clients=clients,
        path=base.path,
        instances=instances,
        fleet=fleet,
        autoscaler=autoscaler,
        clock=base.clock,
        recorder=base.recorder,
        queued_s=queued_s,
    )


def _arriving(workload: Workload, until_s: float | None) -> int:
    """How many requests arrive before the end. Raises `InputError` if none does."""
    n = len(workload) if until_s is None else int(np.searchsorted(workload.arrival_s, until_s))
    if n == 0:
        raise InputError(f"{workload.source}: no request arrives before until_s = {until_s}")
    return n


def _check(workload: Workload, specs: Sequence[InstanceSpec], options: RunOptions) -> None:
    for spec in specs:
        if spec.scheduler.needs_prediction and workload.predicted_output_tokens is None:
            raise InputError(f"{type(spec.scheduler).__name__} needs predicted output lengths, and there are none")
        if (spec.speculation is None) != (workload.acceptance is None):
            raise InputError("speculation of instances and acceptance of requests need each other, one is missing")
        if spec.speculation is not None and not spec.scheduler.honours_speculation:
            raise InputError(f"{type(spec.scheduler).__name__} does not count drafted tokens")
        if spec.speculation is not None and options.disaggregation is not None:
            raise InputError("requests speculate on instances that compute prompts themselves")
        _check_drafts(spec, workload)
        if spec.speculation is not None and spec.async_scheduling and spec.speculation.changes:
            raise InputError("asynchronous scheduling goes with one number of drafted tokens, not with several")
    if options.escalation is not None and (options.retries is not None or options.until_s is not None):
        raise InputError("answers that are judged exclude retries and until_s: each request is answered to the end")
    if options.disaggregation is not None:
        if options.autoscaling is not None:
            raise InputError("autoscaling is for instances that are all alike, not for prefill and decode")
        if options.api.output_token_s > 0:
            raise InputError("host.output_token_s: senders of instances that hand requests over are not modelled")


def _check_drafts(spec: InstanceSpec, workload: Workload) -> None:
    """Refuse a policy that decides how much is drafted where that is not for it to decide."""
    if not spec.scheduler.chooses_drafts or (spec.speculation is None and not spec.scheduler.needs_speculation):
        return
    decides = f"{type(spec.scheduler).__name__} decides how many tokens each request drafts"
    if spec.speculation is None or spec.speculation.mixed is None:
        raise InputError(f"{decides}: it needs speculation, of no number by the batch")
    if workload.acceptance is not None and workload.acceptance.seeds is not None:
        raise InputError(f"{decides}, and draws are of one number; expected even acceptance")


@dataclass(frozen=True)
class _Base:
    """What all parts are made from."""

    attempts: Workload  #: requests that arrive, each as often as its user may try
    users: Users
    arrival_s: Floats  #: of each attempt
    specs: Sequence[InstanceSpec]
    rng: np.random.Generator  #: of routers
    options: RunOptions
    clock: Clock
    recorder: Recorder
    path: RequestPath

    @classmethod
    def of(
        cls,
        attempts: Workload,
        users: Users,
        specs: Sequence[InstanceSpec],
        rng: np.random.Generator,
        options: RunOptions,
        on_progress: Callable[[int], None] | None,
    ) -> _Base:
        # where requests follow on others, clients put in when they arrive
        arrival_s = attempts.arrival_s.copy() if users.wait_for_ends else attempts.arrival_s
        clock = Clock()
        given = arrival_s, attempts.prompt_tokens, attempts.output_tokens, len(specs)
        recorder = Recorder(*given)
        if attempts.acceptance is not None:
            recorder = SpeculativeRecorder(*given, attempts.acceptance.draws_of)
        path = RequestPath(clock, attempts, recorder, on_progress)
        return cls(attempts, users, arrival_s, specs, rng, options, clock, recorder, path)


def _clients(base: _Base) -> Clients:
    options, path = base.options, base.path
    direct = options.api.max_concurrency is None and options.patience is None and options.admission is None
    return Clients(
        base.clock,
        base.arrival_s,
        base.attempts.prompt_tokens,
        path.admit if direct else path.send,
        base.users,
        max_in_flight=options.max_in_flight,
    )


def _way_out(base: _Base, clients: Clients) -> WayOut:
    """The way back to clients; busy senders only where something happens when a client has its last token.

    What else they do is worked out after the run (`gateway.after_sender`).
    """
    api = base.options.api
    acting = api.max_concurrency is not None or clients.act
    if acting and api.output_token_s > 0:
        return SenderQueue(base.clock, api.response_s, api.output_token_s, len(base.specs))
    return WayOut(base.clock, api.response_s)


def _instances(base: _Base, way_out: WayOut, memories: Iterable[KVMemory], *, asked: bool) -> list[Instance]:
    """All instances; `asked`: what their schedulers would accept is asked between steps."""
    output_tokens = base.attempts.output_tokens.tolist()
    on_tokens = way_out.emitted if isinstance(way_out, SenderQueue) else None
    observers = Observers(base.recorder, base.path.end, on_tokens)
    draws = None if base.attempts.acceptance is None else base.attempts.acceptance.draws_of
    return [
        Instance(
            base.clock,
            number,
            scheduler=spec.scheduler,
            latency=spec.latency,
            memory=memory,
            max_model_len=spec.max_model_len,
            output_tokens=output_tokens,
            observers=observers,
            gpus=spec.gpus,
            stepwise=not base.options.stretches,
            asks_every_step=asked,
            async_scheduling=spec.async_scheduling,
            speculation=spec.speculation,
            draws=draws,
        )
        for number, (spec, memory) in enumerate(zip(base.specs, memories, strict=True))
    ]


def _memories(specs: Sequence[InstanceSpec], attempts: Workload, *, asked: bool) -> Iterator[KVMemory]:
    """One for each instance; what requests hold in blocks of one size is said once. `asked`: routers look at caches."""
    paths: dict[int, BlockPaths] = {}
    spans: dict[int, SpansOfRequests] = {}
    for spec in specs:
        size, prefixes = spec.block_tokens, attempts.prefixes
        if not spec.prefix_caching:
            yield KVMemory(spec.num_gpu_blocks, size)
        elif spec.scheduler.prefix_cache == "radix":
            if size not in spans:
                spans[size] = SpansOfRequests(attempts, size)
            yield RadixCache(spec.num_gpu_blocks, size, spans[size])
        else:
            if size not in paths:
                paths[size] = BlockPaths(prefixes, size)
                if asked:
                    paths[size].note_holders()
            yield PrefixCache(spec.num_gpu_blocks, size, paths[size])


def _ask_caches(router: Router, options: RunOptions) -> bool:
    """Whether a router looks at what instances have cached."""
    rules = options.disaggregation
    return "caches" in router.reads or (rules is not None and "caches" in rules.router.reads)


def _fleet(base: _Base, instances: Sequence[Instance]) -> Fleet:
    pools = [base.specs[instance.number].pool for instance in instances]
    fleet = Fleet(base.clock, instances, base.rng, pools=pools, reports=base.options.reports)
    base.path.place(fleet)
    return fleet


def _disaggregate(base: _Base, rules: Disaggregation, instances: Sequence[Instance]) -> None:
    """Give every instance an exchange with the others, and those that decode a fleet of their own."""
    decoding = [each for each, spec in zip(instances, base.specs, strict=True) if spec.role == "decode"]
    fleet = _fleet(base, decoding)
    dispatcher = Dispatcher(base.clock, rules.router, fleet)
    exchanges: dict[int, Exchange] = {}
    network = Network(base.clock, rules.link)
    for instance, spec in zip(instances, base.specs, strict=True):
        exchanges[instance.number] = Exchange(
            instance,
            spec.role,
            network=network,
            rules=rules,
            choose=lambda request: exchanges[decoding[dispatcher.pick(request)].number],
            on_moved=base.path.move,
            recorder=base.recorder,
        )
        instance.connect(exchanges[instance.number])


def _connect(
    base: _Base, clients: Clients, way_out: WayOut, arrivals: Dispatcher, autoscaler: Autoscaler | None
) -> Floats:
    """Connect the path of requests with what it leads through; return when each enters its engine's queue."""
    path, api = base.path, base.options.api
    entrance = _entrance(base, way_out)
    patience = _patience(base, clients, entrance)
    on_end: list[Callable[[int, Request], None]] = [patience.ended] if isinstance(patience, Impatience) else []
    if autoscaler is not None:
        on_end.append(autoscaler.ended)
    if isinstance(entrance, Entrance):
        on_end.append(entrance.ended)
    if clients.act:
        on_end.append(lambda number, request: clients.ended(request, way_out.received_s(number, request)))
    rules = base.options.admission
    path.door = OpenDoor() if rules is None else Door(base.clock, rules, arrivals.fleet)
    if not api.way_in and isinstance(entrance, NoLimit):
        path.connect(entrance, patience, Straight(), arrivals, on_end)
        return clients.sent_s
    way_in = WayIn(base.clock, api, len(base.attempts), patience)
    path.connect(entrance, patience, way_in, arrivals, on_end)
    return way_in.queued_s


def _entrance(base: _Base, way_out: WayOut) -> Entrance | NoLimit:
    api, admit = base.options.api, base.path.admit
    if api.max_concurrency is None:
        return NoLimit(admit)
    requests = len(base.attempts)
    return Entrance(base.clock, api.max_concurrency, api.max_queue, admit=admit, way_out=way_out, requests=requests)


def _patience(base: _Base, clients: Clients, entrance: Entrance | NoLimit) -> NoPatience:
    patience, tries = base.options.patience, base.users.attempts
    if patience is None:
        return NoPatience()
    repeated = patience.repeated(len(base.attempts) // tries, tries)
    return Impatience(base.clock, repeated, clients, entrance, base.path.turn_away)


def _needs_events(router: Router, options: RunOptions, clients: Clients) -> bool:
    """Whether anything depends on the state of instances between arrivals, or every step is to be an event.

    If not, they are in lazy mode (engine/instance.py).
    """
    looked_at = router.reads or options.reports.age_s or clients.act or not options.stretches
    looked_at = looked_at or (options.admission is not None and options.admission.reads_instances)
    followed = (options.api.max_concurrency, options.patience, options.disaggregation, options.autoscaling)
    return bool(looked_at) or any(part is not None for part in followed)
