"""Turn the names and numbers of a scenario into the objects that a run is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from llmsim import delivery
from llmsim.cluster.clients import ApiPath
from llmsim.errors import InputError
from llmsim.latency import hardware
from llmsim.metrics.slo import Slo
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.window import Window
from llmsim.record import Timelines
from llmsim.request import Outcome
from llmsim.scenario import (
    EngineHostTable,
    PacedDelivery,
    RequestClass,
    Scenario,
    ServeGenWorkload,
    SessionsTable,
    SyntheticWorkload,
    TraceWorkload,
)
from llmsim.scenario.engines import BY_ENGINE, host_profile
from llmsim.workload import asked, classes
from llmsim.workload.classes import Classes
from llmsim.workload.contract import Workload
from llmsim.workload.conversations import Number, Plan, Wait, converse
from llmsim.workload.patience import INFINITE_S, Patience, draw_patience
from llmsim.workload.prediction import predict
from llmsim.workload.retries import Retries, draw_backoffs
from llmsim.workload.servegen import draw_clients
from llmsim.workload.shared_prefixes import with_shared_prefixes
from llmsim.workload.streams import Streams
from llmsim.workload.synthetic import arrival_process, length_source, synthesize


def make_workload(scenario: Scenario, streams: Streams) -> Workload:
    """Read the trace or draw the requests, with all that is told of them; scheduler and cluster have no say in it."""
    bare = _make_requests(scenario, streams)
    given = make_classes(scenario, streams.classes, bare)
    if given is not None:
        bare = _with_lengths_of_classes(scenario, streams.classes, bare, given)
    with blaming(scenario, "prediction"):
        options = scenario.prediction.model_dump()
        predicted = predict(streams.predictions, bare.output_tokens, **options)
    told = dataclasses.replace(bare, predicted_output_tokens=predicted, classes=given)
    clients = scenario.clients
    if clients.ignore_eos:
        return dataclasses.replace(told, asked=asked.exactly(bare.output_tokens))
    if clients.max_tokens is None:
        return told
    with blaming(scenario, "clients", "max_tokens"):
        return dataclasses.replace(told, asked=asked.at_most(clients.max_tokens, bare.output_tokens))


def make_classes(scenario: Scenario, rng: np.random.Generator, requests: Workload) -> Classes | None:
    """Put each request in one of the scenario's classes, if it has any."""
    given = scenario.workload.classes
    if not given:
        return None
    weights = [each.weight for each in given if each.weight is not None]
    if weights:
        of_request = classes.draw(rng, len(requests), weights)
    else:
        longest = [each.max_prompt_tokens for each in given if each.max_prompt_tokens is not None]
        of_request = classes.by_prompt(requests.prompt_tokens, longest)
    return Classes(of_request, tuple(each.name for each in given), tuple(each.priority for each in given))


def _with_lengths_of_classes(scenario: Scenario, rng: np.random.Generator, drawn: Workload, given: Classes) -> Workload:
    """Draw the lengths of those classes that have their own, each from a stream of its own."""
    tables = scenario.workload.classes
    prompt_tokens, output_tokens = drawn.prompt_tokens.copy(), drawn.output_tokens.copy()
    for number, (stream, table) in enumerate(zip(rng.spawn(len(tables)), tables, strict=True)):
        if table.lengths is not None:
            with blaming(scenario, "workload", "classes"):
                source = length_source(table.lengths.source, **table.lengths.options)
            prompts, outputs = source.tokens(stream, len(drawn))
            mine = given.of_request == number
            prompt_tokens[mine], output_tokens[mine] = prompts[mine], outputs[mine]
    return dataclasses.replace(drawn, prompt_tokens=prompt_tokens, output_tokens=output_tokens)


def _make_requests(scenario: Scenario, streams: Streams) -> Workload:
    chosen = scenario.workload
    if isinstance(chosen, TraceWorkload):
        from llmsim.workload.traces import read_trace  # loads pandas and pyarrow

        with blaming(scenario, "workload", "trace"):
            return read_trace(
                chosen.trace,
                format=chosen.format,
                columns=chosen.columns,
                time_unit=chosen.time_unit,
                hash_block_tokens=chosen.hash_block_tokens,
                rate_scale=chosen.rate_scale,
                start_s=chosen.start_s,
                duration_s=chosen.duration_s,
                limit=chosen.limit,
            )
    if isinstance(chosen, ServeGenWorkload):
        with blaming(scenario, "workload", "servegen"):
            options = chosen.model_dump(include={"rate_scale", "start_s", "duration_s", "limit"})
            return draw_clients(streams, chosen.servegen, **options)
    if chosen.sessions is not None:
        with blaming(scenario, "workload", "sessions"):
            return make_conversations(chosen, chosen.sessions, streams)
    with blaming(scenario, "workload"):
        drawn = synthesize(
            streams,
            requests=chosen.requests,
            arrivals=arrival_process(chosen.arrivals.process, **chosen.arrivals.options),
            lengths=length_source(chosen.lengths.source, **chosen.lengths.options),
        )
    if chosen.prefixes is None:
        return drawn
    return with_shared_prefixes(streams.prefixes, drawn, **chosen.prefixes.model_dump())


def make_conversations(chosen: SyntheticWorkload, sessions: SessionsTable, streams: Streams) -> Workload:
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
    begin = chosen.arrivals.concurrency or arrival_process(chosen.arrivals.process, **chosen.arrivals.options)
    lengths = length_source(chosen.lengths.source, **chosen.lengths.options)
    return converse(streams, plan, requests=chosen.requests, begin=begin, lengths=lengths)


def make_model(scenario: Scenario) -> hardware.Model:
    """The model that all instances serve, with keys and values of the type that the scenario says."""
    with blaming(scenario, "cluster", "model"):
        model = hardware.load_model(scenario.cluster.model)
    return model.with_kv_cache(scenario.cluster.kv_cache_dtype)


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
    return ApiPath(**times, **scenario.gateway.model_dump())


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


def make_user(scenario: Scenario) -> User:
    """The reader as the metrics take them."""
    with blaming(scenario, "user"):
        return User(**scenario.user.model_dump())


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
