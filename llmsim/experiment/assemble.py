"""Turn the names and numbers of a scenario into the objects that a run is made of."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, ValidationError, create_model

from llmsim import delivery, discovery, hardware
from llmsim.abandonment import Abandoning, Deadlines
from llmsim.clients import ApiPath
from llmsim.cluster import InstanceSpec
from llmsim.errors import InputError
from llmsim.latency.build import build_latency
from llmsim.latency.contract import LatencyModel
from llmsim.latency.host import Host
from llmsim.metrics.slo import Slo
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.window import Window
from llmsim.record import Timelines
from llmsim.request import Outcome
from llmsim.router import Router
from llmsim.scenario import (
    Abandonment,
    ClosedArrivals,
    PacedDelivery,
    Scenario,
    Sessions,
    SyntheticWorkload,
    TraceWorkload,
)
from llmsim.scenario.messages import Place, input_error
from llmsim.scheduler import Scheduler
from llmsim.workload.contract import Workload
from llmsim.workload.conversations import Number, Plan, Wait, converse
from llmsim.workload.patience import FOR_EVER_S, Patience, draw_patience
from llmsim.workload.retries import Retries, draw_backoffs
from llmsim.workload.shared_prefixes import with_shared_prefixes
from llmsim.workload.streams import Streams
from llmsim.workload.synthetic import arrival_process, length_source, synthesize

P = TypeVar("P")


def make_workload(scenario: Scenario, streams: Streams) -> Workload:
    """Read the trace or draw the requests; the scheduler and the cluster have no say in them."""
    chosen = scenario.workload
    if isinstance(chosen, TraceWorkload):
        from llmsim.workload.traces import read_trace  # loads pandas and pyarrow

        with _blaming(scenario, "workload", "trace"):
            return read_trace(
                chosen.trace,
                format=chosen.format,
                rate_scale=chosen.rate_scale,
                start_s=chosen.start_s,
                duration_s=chosen.duration_s,
                limit=chosen.limit,
            )
    if chosen.sessions is not None:
        with _blaming(scenario, "workload", "sessions"):
            return make_conversations(chosen, chosen.sessions, streams)
    with _blaming(scenario, "workload"):
        drawn = synthesize(
            streams,
            requests=chosen.requests,
            arrivals=arrival_process(**chosen.arrivals.model_dump()),
            lengths=length_source(**chosen.lengths.model_dump()),
        )
    if chosen.prefixes is None:
        return drawn
    return with_shared_prefixes(streams.prefixes, drawn, **chosen.prefixes.model_dump())


def make_conversations(chosen: SyntheticWorkload, sessions: Sessions, streams: Streams) -> Workload:
    """Draw conversations; with closed arrivals, so many users have one after the other."""
    waits = {name: Wait(**wait.model_dump()) for name in ("think", "pause") if (wait := getattr(sessions, name))}
    if sessions.tools is not None:
        waits["tool"] = Wait(**sessions.tools.gap.model_dump())
    plan = Plan(
        turns=Number(**sessions.turns.model_dump()),
        calls=Number(1, "fixed") if sessions.tools is None else Number(**sessions.tools.calls.model_dump()),
        history=sessions.history,
        max_context_tokens=sessions.max_context_tokens,
        **waits,
    )
    users = chosen.arrivals.concurrency if isinstance(chosen.arrivals, ClosedArrivals) else None
    begin = users or arrival_process(**chosen.arrivals.model_dump())
    lengths = length_source(**chosen.lengths.model_dump())
    return converse(streams, plan, requests=chosen.requests, begin=begin, lengths=lengths)


def make_instances(scenario: Scenario, scheduler: Scheduler) -> list[InstanceSpec]:
    """Describe the instances: all alike."""
    cluster = scenario.cluster
    with _blaming(scenario, "cluster", "gpu"):
        gpu = hardware.load_gpu(cluster.gpu)
    with _blaming(scenario, "cluster", "model"):
        model = hardware.load_model(cluster.model)
    blocks = cluster.num_gpu_blocks
    if blocks is None:
        with _blaming(scenario, "cluster", "model"):
            blocks = hardware.kv_blocks(
                gpu,
                model,
                tensor_parallel_size=cluster.tensor_parallel_size,
                gpu_memory_utilization=cluster.gpu_memory_utilization,
                block_tokens=cluster.block_size,
            )
    with _blaming(scenario, "cluster", "latency"):
        latency = build_latency(cluster.latency, gpu, model, cluster.tensor_parallel_size)
    host = make_host(scenario)
    if host.step_s or host.sequence_s:
        latency = Host(latency, host.step_s, host.sequence_s)
    spec = InstanceSpec(
        scheduler=with_abandonment(scenario, scheduler, latency),
        latency=latency,
        num_gpu_blocks=blocks,
        block_tokens=cluster.block_size,
        max_model_len=cluster.max_model_len or model.max_model_len,
        prefix_caching=cluster.prefix_caching,
    )
    return [spec] * cluster.instances


def make_host(scenario: Scenario) -> hardware.HostTimes:
    """The host's times: those of the profile, if one is named, with what the scenario says otherwise."""
    changes = scenario.host.model_dump(exclude_none=True, exclude={"profile"})
    named = scenario.host.profile
    if named is None:
        return hardware.HostTimes(**changes)
    with _blaming(scenario, "host", "profile"):
        profile = hardware.load_host(named).model_dump(include=set(hardware.HostTimes.model_fields))
    return hardware.HostTimes(**(profile | changes))


def make_api(scenario: Scenario) -> ApiPath:
    """The way between clients and engines: the host's times and the gateway's limits."""
    times = make_host(scenario).model_dump(exclude={"step_s", "sequence_s"})
    return ApiPath(**times, **scenario.gateway.model_dump())


def make_scheduler(scenario: Scenario, policy: type[Scheduler] | None = None) -> Scheduler:
    """Find the scheduler by its name, unless it is given, and set its options."""
    if policy is None:
        with _blaming(scenario, "scheduler", "name"):
            policy = discovery.find("llmsim.schedulers", scenario.scheduler.name, Scheduler)  # type: ignore[type-abstract]
    return make_policy(policy, scenario.scheduler.options, lambda keys: scenario.place(*keys), ("scheduler",))


def with_abandonment(scenario: Scenario, scheduler: Scheduler, latency: LatencyModel) -> Scheduler:
    """Put the wrapper that gives up on requests around a scheduler, if the scenario asks for it."""
    chosen = scenario.abandonment
    if not isinstance(chosen, Abandonment):
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
    if foresee is not None and scenario.cluster.prefix_caching:
        wrapped.asks_every_step = True  # type: ignore[misc]  # decoding evicts what waiting requests would have found
    return wrapped


def make_patience(scenario: Scenario, rng: np.random.Generator, requests: int) -> Patience | None:
    """Draw how long users wait, if they may leave. Both patiences are drawn, so that setting one leaves the other."""
    chosen = scenario.patience
    if chosen.first_token is None and chosen.next_token is None:
        return None
    first, following = (
        draw_patience(stream, requests, **wait.model_dump()) if wait else np.full(requests, FOR_EVER_S)
        for stream, wait in zip(rng.spawn(2), (chosen.first_token, chosen.next_token), strict=True)
    )
    return Patience(first, following, chosen.cancel_delay_s)


def make_retries(scenario: Scenario, rng: np.random.Generator, requests: int) -> Retries | None:
    """Draw how long users wait before they try again, if they do."""
    chosen = scenario.retries
    if chosen.max_attempts == 1:
        return None
    with _blaming(scenario, "retries"):
        backoff_s = draw_backoffs(rng, requests, **chosen.model_dump(exclude={"on"}))
    return Retries(backoff_s, frozenset(Outcome[name.upper()] for name in chosen.on))


def make_router(scenario: Scenario) -> Router:
    """Find the router by its name."""
    with _blaming(scenario, "cluster", "router"):
        policy = discovery.find("llmsim.routers", scenario.cluster.router, Router)  # type: ignore[type-abstract]
    return policy()


def make_delivery(scenario: Scenario) -> Callable[[Timelines], Timelines]:
    """The function from emitted to delivered token times."""
    chosen = scenario.delivery
    if isinstance(chosen, PacedDelivery):
        return partial(delivery.paced, **chosen.model_dump(exclude={"policy"}))
    return delivery.immediate


def make_slo(scenario: Scenario) -> Slo:
    """The bounds as the metrics take them."""
    return Slo(**scenario.slo.model_dump())


def make_user(scenario: Scenario) -> User:
    """The reader as the metrics take them."""
    with _blaming(scenario, "user"):
        return User(**scenario.user.model_dump())


def make_window(scenario: Scenario) -> Window:
    """The window as the metrics take it."""
    with _blaming(scenario, "window"):
        return Window(**scenario.window.model_dump())


def make_policy(policy: type[P], options: Mapping[str, Any], place: Place, prefix: tuple[str, ...]) -> P:
    """Build a policy, a dataclass whose fields are its options, from options that a user wrote.

    Raises InputError with place and key for an option that is unknown or has the wrong type, and for what the
    policy itself refuses.
    """
    hints = typing.get_type_hints(policy)
    fields = dataclasses.fields(policy) if dataclasses.is_dataclass(policy) else ()
    known: dict[str, Any] = {field.name: (hints[field.name], _default(field)) for field in fields if field.init}
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    checked = create_model(policy.__name__, __config__=config, **known)
    try:
        values = checked.model_validate(dict(options))
    except ValidationError as error:
        raise input_error(error, checked, place, prefix) from None
    try:
        return policy(**{name: getattr(values, name) for name in values.model_fields_set})
    except (InputError, ValueError) as error:
        raise InputError(f"{place(prefix)}{'.'.join(prefix)}: {error}") from None


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory)
    return ...


@contextmanager
def _blaming(scenario: Scenario, *keys: str) -> Iterator[None]:
    """Put the place of a key before the message of an error that its value causes."""
    try:
        yield
    except InputError as error:
        text = str(error)
        named = text.startswith(keys[0])  # some messages name the key themselves
        raise InputError(f"{scenario.place(*keys) if named else scenario.where(*keys)}{text}") from None
