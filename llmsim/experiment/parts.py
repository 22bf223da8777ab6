"""Turn the names and numbers of a scenario into the objects that a run is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from llmsim import delivery
from llmsim.cluster.admission import Admission, Limit, limits_of
from llmsim.cluster.clients import ApiPath
from llmsim.errors import InputError, nearest
from llmsim.latency import hardware
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.window import Window
from llmsim.record import Timelines
from llmsim.request import Outcome
from llmsim.scenario import (
    EngineHostTable,
    PacedDelivery,
    RequestClass,
    Scenario,
    tenants_of,
)
from llmsim.scenario.engines import BY_ENGINE, host_profile
from llmsim.slo import Slo
from llmsim.workload.patience import INFINITE_S, Patience, draw_patience
from llmsim.workload.retries import Retries, draw_backoffs


def make_model(scenario: Scenario, pool: int = 0) -> hardware.Model:
    """The model that the instances of a pool serve, by its number, with keys and values of the type that it says."""
    own, cluster = scenario.pools[pool]

    def keys(name: str) -> tuple[str, ...]:
        return ("cluster", name) if getattr(own, name, None) is None else ("pool", str(pool), name)

    with blaming(scenario, *keys("model")):
        model = hardware.load_model(cluster.model)
    with blaming(scenario, *keys("routing")):
        return model.with_kv_cache(cluster.kv_cache_dtype).with_routing(cluster.routing)


def make_host(scenario: Scenario, pool: int | None = None) -> hardware.HostTimes:
    """The host's times: those of the profile, if one is named, with what the scenario says otherwise.

    Of the engines of a pool, by its number: with what that says otherwise yet, a profile of its own before all else.
    """
    own = scenario.pool[pool].host if pool is not None and scenario.pool else EngineHostTable()
    changes = own.model_dump(exclude_none=True, exclude={"profile"})
    if own.profile is None:
        changes = scenario.host.model_dump(exclude_none=True, exclude={"profile"}) | changes
    named = own.profile or scenario.host.profile
    times: dict[str, Any] = {}
    if named is not None:
        with blaming(scenario, *(("pool", str(pool)) if own.profile else ()), "host", "profile"):
            named = host_profile(scenario.cluster.engine) if named == BY_ENGINE else named
            times = hardware.load_host(named).model_dump(include=set(hardware.HostTimes.model_fields))
    return hardware.read_record(hardware.HostTimes, times | changes, scenario.place("host") + "host")


def make_api(scenario: Scenario) -> ApiPath:
    """The way between clients and engines: the host's times and the gateway's limits."""
    times = make_host(scenario).model_dump(include={field.name for field in dataclasses.fields(ApiPath)})
    gateway = scenario.gateway
    return ApiPath(**times, max_concurrency=gateway.max_concurrency, max_queue=gateway.max_queue)


def make_admission(scenario: Scenario) -> Admission | None:
    """What the gateway refuses at its door; None: nothing. InputError for a tenant or a bound that there is not."""
    gateway = scenario.gateway
    if not gateway.limits and gateway.early_rejection is None:
        return None
    tenants = tenants_of(scenario)
    for number, limit in enumerate(gateway.limits):
        if limit.tenant is not None and limit.tenant not in tenants:
            place = scenario.where("gateway", "limits", str(number), "tenant")
            raise InputError(f"{place}no class has the tenant '{limit.tenant}'{nearest(limit.tenant, tenants)}")
    with blaming(scenario, "gateway", "limits"):
        limits = [(each.tenant, Limit(**each.model_dump(exclude={"tenant"}))) for each in gateway.limits]
        named, others = limits_of(limits)
    of = {f"class '{each.name}'": make_slo(scenario, each) for each in scenario.workload.classes}
    for name, slo in (of or {"[slo]": make_slo(scenario)}).items():
        if gateway.early_rejection is not None and slo.ttft_s is None:
            raise InputError(f"{scenario.where('gateway', 'early_rejection')}goes by slo.ttft_s, and {name} has none")
    return Admission(named, others, gateway.early_rejection)


def make_patience(scenario: Scenario, rng: np.random.Generator, requests: int) -> Patience | None:
    """Draw how long users wait, if they may leave. Both patiences are drawn, so that setting one leaves the other."""
    chosen = scenario.patience
    if chosen.first_token is None and chosen.next_token is None:
        return None
    first, following = (
        draw_patience(stream, requests, **wait.model_dump()) if wait else np.full(requests, INFINITE_S)
        for stream, wait in zip(rng.spawn(2), (chosen.first_token, chosen.next_token), strict=True)
    )
    return Patience(first, following, chosen.cancel_delay_s)


def make_retries(scenario: Scenario, rng: np.random.Generator, requests: int) -> Retries | None:
    """Draw how long users wait before they try again, if they do."""
    chosen = scenario.retries
    if chosen.max_attempts == 1:
        return None
    with blaming(scenario, "retries"):
        backoff_s = draw_backoffs(rng, requests, **chosen.model_dump(exclude={"on"}))
    return Retries(backoff_s, frozenset(Outcome[name.upper()] for name in chosen.on))


def make_delivery(scenario: Scenario) -> Callable[[Timelines], Timelines]:
    """The function from emitted to delivered token times."""
    chosen = scenario.delivery
    if isinstance(chosen, PacedDelivery):
        return partial(delivery.paced, **chosen.model_dump(exclude={"policy"}))
    return delivery.immediate


def make_slo(scenario: Scenario, given: RequestClass | None = None) -> Slo:
    """The bounds as the metrics take them: of all requests, or of a class that has its own."""
    bounds = given.slo if given is not None and given.slo is not None else scenario.slo
    return Slo(**bounds.model_dump())


def make_user(scenario: Scenario, given: RequestClass | None = None) -> User:
    """The reader as the metrics take them: of all requests, or of a class that has its own."""
    own = given is not None and given.user is not None
    with blaming(scenario, *(("workload", "classes") if own else ("user",))):
        return User(**(given.user if given is not None and given.user is not None else scenario.user).model_dump())


def make_window(scenario: Scenario) -> Window:
    """The window as the metrics take it."""
    with blaming(scenario, "window"):
        return Window(**scenario.window.model_dump())


@contextmanager
def blaming(scenario: Scenario, *keys: str) -> Iterator[None]:
    """Put the place of a key before the message of an error that its value causes."""
    try:
        yield
    except InputError as error:
        text = str(error)
        named = text.startswith(keys[0])  # some messages name the key themselves
        raise InputError(f"{scenario.place(*keys) if named else scenario.where(*keys)}{text}") from None
