"""OpenTelemetry spans of requests to models, by the attributes gen_ai.*: OTLP's JSON, or one span an object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from llmsim.errors import InputError
from llmsim.workload.trace_format import CountTokens, Placed, RecordFormat

#: today's names first, then those of conventions before 1.27
INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
#: operations whose spans hold the usage of others, or whose tokens no model generates
NO_REQUESTS = ("create_agent", "invoke_agent", "invoke_workflow", "execute_tool", "embeddings")
BESIDE = "spans that are no requests of a model"
TWICE = "spans inside one of the same request"


@dataclass(slots=True)
class _Span:
    place: str
    id: str | None
    parent: str | None
    row: dict[str, Any] | None  #: None: it has no usage


class OpenTelemetry(RecordFormat):
    """A span with usage is a request that arrives at the span's start. Of nested ones the outermost counts."""

    arrival, prompt, output = "start_ns", "prompt_tokens", "output_tokens"
    clock = "ns"
    session = "session_id"

    @classmethod
    def recognises(cls, record: Mapping[str, Any]) -> bool:
        """Whether it is a batch of OTLP, or a span with attributes and a start."""
        return "resourceSpans" in record or ("attributes" in record and _started(record) is not None)

    @classmethod
    def rows(cls, records: Iterable[Placed], count: CountTokens) -> Iterator[Placed]:
        """Read all spans, then leave out those within others that count."""
        spans = [span for place, record in records for span in _spans(place, record)]
        by_id = {span.id: span for span in spans if span.id is not None}
        for span in spans:
            inner = span.row is not None and any(one.row is not None for one in _around(span, by_id))
            yield span.place, BESIDE if span.row is None else TWICE if inner else span.row


def _around(span: _Span, by_id: Mapping[str, _Span]) -> Iterator[_Span]:
    """The spans that a span lies in, as far as they are in the file."""
    seen = {span.id}
    while (outer := by_id.get(span.parent or "")) is not None and outer.id not in seen:
        seen.add(outer.id)
        yield outer
        span = outer


def _spans(place: str, record: Mapping[str, Any]) -> Iterator[_Span]:
    if "resourceSpans" not in record:
        yield _span(place, record)
        return
    for resource in _list(place, record, "resourceSpans"):
        for scope in _list(place, resource, "scopeSpans"):
            for number, span in enumerate(_list(place, scope, "spans")):
                yield _span(f"{place}, span {number}", span)


def _list(place: str, record: Any, key: str) -> list[Any]:
    value = record.get(key, []) if isinstance(record, Mapping) else None
    if not isinstance(value, list):
        raise InputError(f"{place}: expected a list as its {key}")
    return value


def _span(place: str, span: Any) -> _Span:
    if not isinstance(span, Mapping):
        raise InputError(f"{place}: expected an object")
    attributes = _attributes(place, span.get("attributes") or {})
    context = span.get("context")
    name = context.get("span_id") if isinstance(context, Mapping) else span.get("spanId")
    parent = span.get("parentSpanId", span.get("parent_id"))
    row = _row(place, span, attributes)
    return _Span(place, _text(place, "spanId", name), _text(place, "parentSpanId", parent), row)


def _text(place: str, key: str, value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise InputError(f"{place}: expected a text as its {key}")
    return value or None


def _row(place: str, span: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    prompt = next((attributes[key] for key in INPUT if key in attributes), None)
    if prompt is None or attributes.get("gen_ai.operation.name") in NO_REQUESTS:
        return None
    start_ns = _started(span)
    if start_ns is None:
        raise InputError(f"{place}: no startTimeUnixNano or start_time that is a time")
    output = next((attributes[key] for key in OUTPUT if key in attributes), 0)
    row = {"start_ns": start_ns, "prompt_tokens": prompt, "output_tokens": output}
    conversation = attributes.get("gen_ai.conversation.id")
    return row if conversation is None else row | {"session_id": str(conversation)}


def _attributes(place: str, given: Any) -> Mapping[str, Any]:
    """Attributes by name: a mapping, or OTLP's list of keys and typed values, whose whole numbers are texts."""
    if isinstance(given, Mapping):
        return given
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise InputError(f"{place}: expected a list of key and value as its attributes")
    found = {}
    for one in given:
        value = one.get("value")
        kind, inner = next(iter(value.items()), ("", None)) if isinstance(value, Mapping) else ("", value)
        if kind == "intValue" and isinstance(inner, str) and inner.lstrip("-").isdecimal():
            inner = int(inner)
        found[str(one.get("key"))] = inner
    return found


def _started(span: Mapping[str, Any]) -> int | None:
    """When a span began, in nanoseconds since 1970; None where it does not say so."""
    value = span.get("startTimeUnixNano", span.get("start_time"))
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    if value.isdecimal():
        return int(value)
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return None
    since = (when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
