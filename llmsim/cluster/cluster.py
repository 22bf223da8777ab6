"""A cluster: clients send requests, a router picks an instance, instances serve. `simulate` runs it to a Record."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf, isnan

import numpy as np
from numpy.typing import NDArray

from llmsim.cluster.autoscaling import Autoscaler, Autoscaling
from llmsim.cluster.clients import DIRECT, ApiPath, Clients
from llmsim.cluster.fleet import ORACLE, Fleet, Reports
from llmsim.cluster.gateway import Entrance, Exit
from llmsim.cluster.users import Users
from llmsim.engine.clock import ARRIVAL, LEAVING, Clock
from llmsim.engine.exchange import Disaggregation, Exchange, Network
from llmsim.engine.instance import Instance
from llmsim.engine.memory import KVMemory
from llmsim.engine.prefix_cache import BlockKeys, PrefixCache
from llmsim.engine.recorder import Recorder
from llmsim.engine.stepwise import StepwiseInstance
from llmsim.errors import InputError, PolicyError
from llmsim.latency.contract import LatencyModel
from llmsim.record import Record
from llmsim.request import NEVER_S, Outcome, Request, Role
from llmsim.router import Router
from llmsim.scheduler import Scheduler
from llmsim.workload.contract import Workload
from llmsim.workload.patience import FOR_EVER_S, Patience
from llmsim.workload.prefixes import Prefixes
from llmsim.workload.retries import Retries

NOWHERE = -1  #: instance of a request that was never sent


@dataclass(frozen=True)
class InstanceSpec:
    """One instance of a cluster."""

    scheduler: Scheduler
    latency: LatencyModel
    num_gpu_blocks: int  #: KV blocks
    max_model_len: int  #: most tokens, prompt and output, of a request
    block_tokens: int = 16
    prefix_caching: bool = False  #: whether blocks are kept for requests that begin alike
    pool: str = "all"  #: name of the pool that it belongs to
    role: Role = "mixed"  #: what it does with arrivals and with computed prompts
    gpus: int = 1  #: over which its model is spread


@dataclass(frozen=True)
class Conditions:
    """How a cluster is run: unless said otherwise until everybody has been served, and with nothing special."""

    stretches: bool = True  #: False: every step is simulated on its own, with the same result
    until_s: float | None = None  #: the end: later arrivals take no part, those still in the system are unfinished
    patience: Patience | None = None  #: after which users leave, counted from when they send
    retries: Retries | None = None  #: of users who were not served
    max_in_flight: int | None = None  #: requests that clients have under way at once
    api: ApiPath = DIRECT  #: the way between clients and engines
    reports: Reports = ORACLE  #: how old the news is that routers have of the instances
    disaggregation: Disaggregation | None = None  #: needed where instances have roles
    autoscaling: Autoscaling | None = None  #: how instances come and go


NOTHING_SPECIAL = Conditions()


def simulate(
    workload: Workload,
    instances: Sequence[InstanceSpec],
    router: Router,
    rng: np.random.Generator,
    conditions: Conditions = NOTHING_SPECIAL,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> Record:
    """Serve a workload and return what happened.

    `rng` is the router's stream. `on_progress` is told now and then how many requests have ended.

    Raises `PolicyError` if a scheduler decides what cannot be, or lets requests wait for ever.
    """
    return Cluster(workload, instances, router, rng, conditions, on_progress=on_progress).run()


class Cluster:
    """The parts of one run, wired together."""

    def __init__(
        self,
        workload: Workload,
        instances: Sequence[InstanceSpec],
        router: Router,
        rng: np.random.Generator,
        conditions: Conditions = NOTHING_SPECIAL,
        *,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        n = _arriving(workload, conditions.until_s)
        _check_predictions(workload, instances)
        self._conditions = conditions
        self._users = users = Users(n, workload.sessions, conditions.retries)
        self._workload, self._requests = workload, n
        self._attempts = attempts = workload.repeated(n, users.attempts)
        self._tells = attempts.tells
        self._on_progress = on_progress
        patience, self._api = conditions.patience, conditions.api
        self._patience = None if patience is None else patience.repeated(n, users.attempts)
        self._present: dict[int, Instance] = {}  # where each request in the system is whose user may leave
        self._under_way: dict[int, tuple[Request, Instance]] = {}  # sent, and not yet in an engine's queue
        self._router = router
        self.clock = Clock()
        self._entrance = self._make_entrance()
        arrival_s = attempts.arrival_s
        if users.wait_for_ends:
            arrival_s = arrival_s.copy()  # clients put in when those who wait for others arrive
        self.clients = Clients(
            self.clock,
            arrival_s,
            attempts.prompt_tokens,
            self._admit if self._entrance is None and patience is None else self._send,
            users,
            max_in_flight=conditions.max_in_flight,
        )
        #: (attempts,) when each entered its engine's queue; NaN: not yet
        self.queued_s = self.clients.sent_s
        if self._api.way_in or self._entrance is not None:
            self.queued_s = np.full(len(attempts), np.nan)
        #: (attempts,) when each passed the gateway's limit; NaN: not yet
        self.admitted_s = np.full(len(attempts) if self._entrance is not None else 0, np.nan)
        acting = self._entrance is not None or self.clients.act
        #: for those who act when a client has its last token; what else it does is worked out after the run
        self._exit = Exit(self._api.output_token_s, len(instances)) if acting and self._api.output_token_s > 0 else None
        self.recorder = Recorder(arrival_s, attempts.prompt_tokens, attempts.output_tokens, len(instances))
        self.instances = self._make_instances(instances)
        self._pools = [spec.pool for spec in instances]
        roles = [spec.role for spec in instances]
        self.fleet = self._fleet([i for i, role in zip(self.instances, roles, strict=True) if role != "decode"], rng)
        #: the fleet that an instance belongs to, and its number in there
        self._berths = {instance.number: (self.fleet, n) for n, instance in enumerate(self.fleet.instances)}
        if conditions.disaggregation is not None:
            self._disaggregate(conditions.disaggregation, roles, rng)
        self.autoscaler = self._make_autoscaler()
        self._set_going(seen=self._watched())
        self.ended = 0

    def _make_entrance(self) -> Entrance | None:
        if self._api.max_concurrency is None:
            return None
        return Entrance(self._api.max_concurrency, self._api.max_queue, self._admit)

    def _make_instances(self, specs: Sequence[InstanceSpec]) -> list[Instance]:
        kind = Instance if self._conditions.stretches else StepwiseInstance
        output_tokens = self._attempts.output_tokens.tolist()
        memories = _memories(specs, self._attempts.prefixes)
        return [
            kind(
                self.clock,
                number,
                scheduler=spec.scheduler,
                latency=spec.latency,
                memory=memory,
                max_model_len=spec.max_model_len,
                recorder=self.recorder,
                output_tokens=output_tokens,
                on_end=self._ended,
                gpus=spec.gpus,
                on_tokens=None if self._exit is None else self._exit.emitted,
            )
            for number, (spec, memory) in enumerate(zip(specs, memories, strict=True))
        ]

    def _make_autoscaler(self) -> Autoscaler | None:
        rules = self._conditions.autoscaling
        if rules is not None and self._conditions.disaggregation is not None:
            raise InputError("autoscaling is for instances that are all alike, not for prefill and decode")
        return None if rules is None else Autoscaler(self.clock, self.fleet, rules)

    def _watched(self) -> bool:
        """Whether anybody looks at instances, or waits for them, between arrivals; or every step is to be seen."""
        conditions = self._conditions
        looked_at = self._router.reads or conditions.reports.age_s or self.clients.act or not conditions.stretches
        watchers = (self._entrance, conditions.patience, conditions.disaggregation, conditions.autoscaling)
        return bool(looked_at) or any(who is not None for who in watchers)

    def _set_going(self, seen: bool) -> None:
        """Let instances make events of all that they do, or go on by themselves, now and then, if nobody would see."""
        self.fleet.seen = seen
        for instance in self.instances:
            instance.seen = seen
            if seen:
                self.clock.process(instance.serve())

    def _fleet(self, instances: Sequence[Instance], rng: np.random.Generator) -> Fleet:
        pools = [self._pools[instance.number] for instance in instances]
        return Fleet(self.clock, instances, rng, pools=pools, reports=self._conditions.reports)

    def _disaggregate(self, rules: Disaggregation, roles: Sequence[Role], rng: np.random.Generator) -> None:
        """Give every instance an exchange with the others, and those that decode a fleet of their own."""
        if self._api.output_token_s > 0:
            raise InputError("host.output_token_s: senders of instances that hand requests over are not modelled")
        decoding = [instance for instance, role in zip(self.instances, roles, strict=True) if role == "decode"]
        fleet = self._fleet(decoding, rng)
        self._berths |= {instance.number: (fleet, n) for n, instance in enumerate(decoding)}
        network = Network(self.clock, rules.link)

        def choose(request: Request) -> Exchange:
            exchange = decoding[self._routed(rules.router, request, fleet)].exchange
            assert exchange is not None
            return exchange

        for instance, role in zip(self.instances, roles, strict=True):
            instance.exchange = Exchange(
                instance,
                role,
                network=network,
                rules=rules,
                choose=choose,
                on_moved=self._moved,
                recorder=self.recorder,
            )

    def _moved(self, request: Request, source: int, target: int) -> None:
        fleet, berth = self._berths[source]
        fleet.ended(berth)
        fleet, berth = self._berths[target]
        fleet.sent(berth, 0)  # its prompt is computed
        if self._patience is not None:
            self._present[request.id] = self.instances[target]

    def run(self) -> Record:
        """Serve everybody; return the record."""
        until_s = self._conditions.until_s
        end_s = inf if until_s is None else until_s
        with _without_garbage_collection():
            self.clock.run_until(end_s)
            for instance in self.instances:
                instance.catch_up(end_s)
        if until_s is not None:
            self._close(until_s)
        elif waiting := self.clients.arrived - self.ended:
            policy = type(self.instances[0].scheduler).__name__
            raise PolicyError(f"{policy}: {waiting} requests wait for ever, and no instance has anything to do")
        times = {"sent_s": self.clients.sent_s, "queued_s": self.queued_s}
        if self._entrance is not None:
            times["admitted_s"] = self.admitted_s
        columns = times | self._whose() | self._attempts.told(len(self._attempts))
        record = self.recorder.finish(columns)
        if self.autoscaler is None:
            return record
        return replace(record, instance_states=self.autoscaler.finish(record.end_s))

    def _whose(self) -> dict[str, NDArray[np.int64]]:
        """Columns, by id, that say which request of the workload an attempt is at, and of which conversation."""
        users, sessions = self._users, self._workload.sessions
        if not users.wait_for_ends:
            return {}  # row i is request i
        request, attempt = np.divmod(np.arange(self._requests * users.attempts), users.attempts)
        columns = {"request": request, "attempt": attempt}
        if sessions is not None:
            columns |= {name: getattr(sessions, name)[request] for name in ("conversation", "turn", "turns")}
        return columns

    def _close(self, until_s: float) -> None:
        """End the run: whoever is still somewhere is unfinished."""
        never_sent = self.clients.close()
        never_admitted = [] if self._entrance is None else self._entrance.close()
        for instance in self.instances:
            instance.stop(until_s)
        for instance in self.instances:
            instance.close(until_s)
        for request, instance in self._under_way.values():
            request.ended_as = _outcome(request)
            self.recorder.ended(request, instance.number, until_s, "")
            self._ended(instance.number, request)
        for request in [*never_admitted, *never_sent]:
            request.ended_as = _outcome(request)
            self.recorder.ended(request, NOWHERE, until_s, "")

    def _send(self, request: Request) -> None:
        """Take a request from a client to an instance, through the gateway's limit, if there is one."""
        if self._entrance is None:
            self._admit(request)
        elif not self._entrance.enter(request):
            self._turn_away(request, Outcome.REJECTED, f"{self._api.max_queue} requests wait at the gateway already")
        if self._patience is not None:
            self._watch_present(request, self._patience)

    def _turn_away(self, request: Request, outcome: Outcome, reason: str) -> None:
        """End a request that has been on no instance."""
        request.ended_as = outcome
        self.recorder.ended(request, NOWHERE, self.clock.now_s, reason)
        self._ended(NOWHERE, request)

    def _admit(self, request: Request) -> None:
        """Take a request to the instance that the router picks."""
        if self._tells:
            self._attempts.tell(request)
        chosen = self._routed(self._router, request, self.fleet)
        self.fleet.sent(chosen, request.prompt_tokens)
        instance = self.fleet.instances[chosen]
        if self._patience is not None:
            self._present[request.id] = instance
        if self._entrance is not None:
            self.admitted_s[request.id] = self.clock.now_s
        if self._api.way_in:
            self._under_way[request.id] = (request, instance)
            there = self.clock.at(self.clock.now_s + self._api.way_in_s(request.prompt_tokens), ARRIVAL)
            there.callbacks.append(lambda _: self._submit(request, instance))
        else:
            if self._entrance is not None:
                self.queued_s[request.id] = self.clock.now_s
            instance.submit(request)

    def _routed(self, router: Router, request: Request, fleet: Fleet) -> int:
        if self.clock.now_s >= fleet.due_s:
            fleet.refresh()
        view = fleet if self.autoscaler is None else self.autoscaler.ready
        chosen = router.route(request, view)
        if not 0 <= chosen < view.size:
            raise PolicyError(
                f"{type(router).__name__} at t={self.clock.now_s:.6f} s: request {request.id} was sent to "
                f"instance {chosen}, expected 0 to {view.size - 1}"
            )
        return chosen if self.autoscaler is None else int(self.autoscaler.ready.numbers[chosen])

    def _submit(self, request: Request, instance: Instance) -> None:
        """Hand a request that was under way to its instance."""
        del self._under_way[request.id]
        self.queued_s[request.id] = self.clock.now_s
        instance.submit(request)
        if self._patience is not None and request.left_s + self._patience.cancel_delay_s <= self.clock.now_s:
            instance.cancel(request.id)  # its user left before it was there

    def _watch(self, request: Request, instance: Instance | None, patience: Patience) -> None:
        """Look at a user's patience again when it may run out, or now let the user leave."""
        now_s, last_s = self.clock.now_s, NEVER_S if instance is None else instance.last_token_s(request)
        first_s, next_s = (float(of[request.id]) for of in (patience.first_token_s, patience.next_token_s))
        if isnan(last_s):
            ends_s = request.arrival_s + first_s
            look_s = min(ends_s, now_s + next_s)  # the first token may have come by then, and a gap begun
        else:
            look_s = ends_s = last_s + next_s
        if now_s >= ends_s:
            self._leave(request, patience.cancel_delay_s)
        elif look_s < FOR_EVER_S:
            look = self.clock.at(look_s, LEAVING)
            look.callbacks.append(lambda _: self._watch_present(request, patience))

    def _watch_present(self, request: Request, patience: Patience) -> None:
        instance = self._present.get(request.id)
        queues = self._entrance is not None and request.id in self._entrance.waiting
        if instance is not None or queues:
            self._watch(request, instance, patience)

    def _leave(self, request: Request, cancel_delay_s: float) -> None:
        request.left_s = self.clock.now_s
        self.clients.left(request)
        if cancel_delay_s == 0:
            self._cancel(request)
        else:
            told = self.clock.at(self.clock.now_s + cancel_delay_s, LEAVING)
            told.callbacks.append(lambda _: self._cancel(request))

    def _cancel(self, request: Request) -> None:
        """Tell whoever has a request that its user has left."""
        instance = self._present.get(request.id)
        if instance is not None:
            instance.cancel(request.id)
        elif self._entrance is not None and self._entrance.drop(request.id) is not None:
            self._turn_away(request, Outcome.CANCELLED, "")

    def _ended(self, number: int, request: Request) -> None:
        if self._patience is not None:
            self._present.pop(request.id, None)
        self.ended += 1
        if self._on_progress is not None and self.ended % 256 == 0:
            self._on_progress(self.ended)
        if number != NOWHERE:
            fleet, berth = self._berths[number]
            fleet.ended(berth)
            if self.autoscaler is not None:
                self.autoscaler.ended(berth)
            if self._entrance is not None:
                self._leave_gateway(self._entrance, self._received_s(number, request))
        if self.clients.act:
            self.clients.ended(request, self._received_s(number, request))

    def _received_s(self, number: int, request: Request) -> float:
        """When the client of a request that ends now has its last token, or the news."""
        now_s = self.clock.now_s
        if self._exit is not None and request.ended_as == Outcome.FINISHED:
            now_s = self._exit.sent_s(number)
        return now_s + self._api.response_s

    def _leave_gateway(self, entrance: Entrance, at_s: float) -> None:
        """Give a request's place in the gateway to somebody else, now or later."""
        if at_s <= self.clock.now_s:
            entrance.leave()
        else:
            left = self.clock.at(at_s, ARRIVAL)
            left.callbacks.append(lambda _: entrance.leave())


def _arriving(workload: Workload, until_s: float | None) -> int:
    """How many requests arrive before the end. Raises `InputError` if none does."""
    n = len(workload) if until_s is None else int(np.searchsorted(workload.arrival_s, until_s))
    if n == 0:
        raise InputError(f"{workload.source}: nobody arrives before until_s = {until_s}")
    return n


def _check_predictions(workload: Workload, instances: Sequence[InstanceSpec]) -> None:
    for spec in instances:
        if spec.scheduler.needs_prediction and workload.predicted_output_tokens is None:
            raise InputError(f"{type(spec.scheduler).__name__} needs predicted output lengths, and there are none")


def _outcome(request: Request) -> Outcome:
    """Of a request that the end of the run finds on its way to the engine."""
    return Outcome.UNFINISHED if isnan(request.left_s) else Outcome.CANCELLED


def _memories(instances: Sequence[InstanceSpec], prefixes: Prefixes | None) -> Iterator[KVMemory]:
    keys: dict[int, BlockKeys] = {}
    for spec in instances:
        size = spec.block_tokens
        if not spec.prefix_caching:
            yield KVMemory(spec.num_gpu_blocks, size)
            continue
        if size not in keys:
            keys[size] = BlockKeys(prefixes, size)
        yield PrefixCache(spec.num_gpu_blocks, size, keys[size])


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """A run makes no reference cycles, so looking for them is time lost (about 7 %)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
