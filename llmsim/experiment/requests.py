"""The requests of a scenario: read, or drawn class by class, with all that is told of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import numpy as np

from llmsim.errors import InputError
from llmsim.experiment.parts import blaming, make_slo
from llmsim.scenario import (
    RequestClass,
    Scenario,
    ServeGenWorkload,
    SessionsTable,
    SharedPrefixesTable,
    SyntheticWorkload,
    TraceWorkload,
)
from llmsim.workload import asked, classes
from llmsim.workload.classes import Classes
from llmsim.workload.contract import Workload
from llmsim.workload.conversations import Number, Plan, Wait, converse
from llmsim.workload.prediction import predict
from llmsim.workload.prefixes import Prefixes, joined
from llmsim.workload.shared_prefixes import with_shared_prefixes
from llmsim.workload.streams import Streams
from llmsim.workload.synthetic import arrival_process, length_source, synthesize


def make_workload(scenario: Scenario, streams: Streams) -> Workload:
    """Read the trace or draw the requests, with all that is told of them; scheduler and cluster have no say in it."""
    bare, given = _requests(scenario, streams)
    with blaming(scenario, "prediction"):
        options = scenario.prediction.model_dump()
        predicted = predict(streams.predictions, bare.output_tokens, **options)
    declared = make_slo(scenario) if given is None else None
    told = dataclasses.replace(bare, predicted_output_tokens=predicted, classes=given, slo=declared)
    clients = scenario.clients
    if clients.ignore_eos:
        return dataclasses.replace(told, asked=asked.exactly(bare.output_tokens))
    if clients.max_tokens is None:
        return told
    with blaming(scenario, "clients", "max_tokens"):
        return dataclasses.replace(told, asked=asked.at_most(clients.max_tokens, bare.output_tokens))


def _requests(scenario: Scenario, streams: Streams) -> tuple[Workload, Classes | None]:
    """The requests, and the class of each; of drawn ones that stand alone, classes say more than names."""
    chosen, tables = scenario.workload, scenario.workload.classes
    if not isinstance(chosen, SyntheticWorkload) or chosen.sessions is not None:
        bare = _whole_requests(scenario, streams)
        return bare, _classes(scenario, class_numbers(bare, tables, streams)) if tables else None
    questions, of_request = _questions(scenario, chosen, streams)
    if tables and of_request is None and tables[0].weight is not None:
        of_request = class_numbers(questions, tables, streams)
    if of_request is not None:
        questions = _with_lengths_of_classes(scenario, streams.classes, questions, of_request)
    bare = _with_prefixes(chosen, streams, questions, of_request)
    if tables and of_request is None:  # told by prompts, prefixes included
        of_request = class_numbers(bare, tables, streams)
    return bare, None if of_request is None else _classes(scenario, of_request)


def class_numbers(requests: Workload, tables: tuple[RequestClass, ...], streams: Streams) -> classes.Ints:
    """The number of the class of each request, (requests,): by stages, by weights, or by prompts."""
    stages = [each.stage for each in tables if each.stage is not None]
    if stages:
        if requests.sessions is None:
            raise InputError(f"{requests.source}: no conversations, of which classes could have stages")
        return classes.by_stage(requests.sessions, stages)
    weights = [each.weight for each in tables if each.weight is not None]
    if weights:
        return classes.draw(streams.classes, len(requests), weights)
    longest = [each.max_prompt_tokens for each in tables if each.max_prompt_tokens is not None]
    return classes.by_prompt(requests.prompt_tokens, longest)


def _classes(scenario: Scenario, of_request: classes.Ints) -> Classes:
    tables = scenario.workload.classes
    return Classes(
        of_request,
        tuple(each.name for each in tables),
        tuple(each.priority for each in tables),
        tuple(each.tenant or each.name for each in tables),
        tuple(make_slo(scenario, each) for each in tables),
    )


def _questions(scenario: Scenario, chosen: SyntheticWorkload, streams: Streams) -> tuple[Workload, classes.Ints | None]:
    """Requests with the lengths of the workload, without prefixes; and their classes, where these have arrivals."""
    tables, of_request = chosen.classes, None
    with blaming(scenario, "workload"):
        lengths = length_source(chosen.lengths.source, **chosen.lengths.options)
        if not chosen.classes_arrive:
            process = arrival_process(chosen.arrivals.process, **chosen.arrivals.options)
            return synthesize(streams, requests=chosen.requests, arrivals=process, lengths=lengths), None
    with blaming(scenario, "workload", "classes"):
        own = [arrival_process(table.arrivals.process, **table.arrivals.options) for table in tables if table.arrivals]
        each = zip(own, streams.arrivals.spawn(len(own)), strict=True)
        times_s = [process.times_s(stream, chosen.requests) for process, stream in each]
    arrival_s, of_request = classes.merged(times_s, chosen.requests)
    return Workload(arrival_s, *lengths.tokens(streams.lengths, chosen.requests), "synthetic"), of_request


def _with_lengths_of_classes(
    scenario: Scenario, rng: np.random.Generator, drawn: Workload, of_request: classes.Ints
) -> Workload:
    """Draw the lengths of those classes that have their own, each from a stream of its own."""
    tables = scenario.workload.classes
    prompt_tokens, output_tokens = drawn.prompt_tokens.copy(), drawn.output_tokens.copy()
    for number, (stream, table) in enumerate(zip(rng.spawn(len(tables)), tables, strict=True)):
        if table.lengths is not None:
            with blaming(scenario, "workload", "classes"):
                source = length_source(table.lengths.source, **table.lengths.options)
            prompts, outputs = source.tokens(stream, len(drawn))
            mine = of_request == number
            prompt_tokens[mine], output_tokens[mine] = prompts[mine], outputs[mine]
    return dataclasses.replace(drawn, prompt_tokens=prompt_tokens, output_tokens=output_tokens)


def _with_prefixes(
    chosen: SyntheticWorkload, streams: Streams, questions: Workload, of_request: classes.Ints | None
) -> Workload:
    """Put prefixes before questions: those of the workload, or of their class; what one class has, no other has."""
    own = [number for number, table in enumerate(chosen.classes) if table.prefixes is not None]
    if of_request is None or not own:
        if chosen.prefixes is None:
            return questions
        return with_shared_prefixes(streams.prefixes, questions, **chosen.prefixes.model_dump())
    tables = {number: chosen.classes[number].prefixes for number in own}
    numbers = {number: np.flatnonzero(of_request == number) for number in own}
    rest = np.flatnonzero(~np.isin(of_request, own))
    draws = dict(zip(own, streams.prefixes.spawn(len(own)), strict=True))
    parts = [(numbers[n], _prefixed(draws[n], questions, numbers[n], tables[n])) for n in own if len(numbers[n])]
    if len(rest):
        parts.append((rest, _prefixed(streams.prefixes, questions, rest, chosen.prefixes)))
    return _joined(questions, parts)


def _prefixed(
    rng: np.random.Generator, questions: Workload, mine: classes.Ints, table: SharedPrefixesTable | None
) -> Workload:
    """Some of the questions, with prefixes before them if there are any."""
    columns = (questions.arrival_s[mine], questions.prompt_tokens[mine], questions.output_tokens[mine])
    some = Workload(*columns, questions.source)
    if table is not None:
        return with_shared_prefixes(rng, some, **table.model_dump())
    nothing = np.zeros(0, dtype=np.int64)
    alone = Prefixes(nothing, nothing, np.zeros(len(mine) + 1, dtype=np.int64))
    return dataclasses.replace(some, prefixes=alone, user=np.arange(len(mine)))


def _joined(questions: Workload, parts: list[tuple[classes.Ints, Workload]]) -> Workload:
    prompt_tokens, user, users = questions.prompt_tokens.copy(), np.zeros(len(questions), np.int64), 0
    groups: list[tuple[classes.Ints, Prefixes]] = []
    for mine, part in parts:
        assert part.prefixes is not None
        assert part.user is not None
        prompt_tokens[mine], user[mine] = part.prompt_tokens, users + part.user
        users += int(part.user.max()) + 1
        groups.append((mine, part.prefixes))
    return dataclasses.replace(questions, prompt_tokens=prompt_tokens, user=user, prefixes=joined(groups))


def _whole_requests(scenario: Scenario, streams: Streams) -> Workload:
    chosen, quality = scenario.workload, {} if scenario.quality is None else scenario.quality.columns
    if isinstance(chosen, TraceWorkload):
        with blaming(scenario, "workload", "trace"):
            return _read_requests(chosen, streams, quality)
    if isinstance(chosen, ServeGenWorkload):
        from llmsim.workload.servegen import draw_clients  # loads pandas and pyarrow

        with blaming(scenario, "workload", "servegen"):
            options = chosen.model_dump(include={"rate_scale", "start_s", "duration_s", "limit"})
            return draw_clients(streams, chosen.servegen, **options)
    assert chosen.sessions is not None
    with blaming(scenario, "workload", "sessions"):
        return make_conversations(chosen, chosen.sessions, streams)


def _read_requests(chosen: TraceWorkload, streams: Streams, quality: Mapping[str, str]) -> Workload:
    from llmsim.workload.traces import read_trace  # loads pandas and pyarrow

    options = chosen.model_dump(exclude={"trace", "classes", "arrivals"}) | {"quality": quality}
    if chosen.arrivals is None:
        return read_trace(chosen.trace, timeless=False, rng=streams.arrivals, **options)
    process = arrival_process(chosen.arrivals.process, **chosen.arrivals.options)
    return read_trace(chosen.trace, arrivals=partial(process.times_s, streams.arrivals), **options)


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
