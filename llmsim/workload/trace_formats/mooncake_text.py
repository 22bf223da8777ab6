"""Traces like Mooncake's whose prompts are texts: `text_input`, `messages` or `payload`, as AIPerf replays them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmsim.errors import InputError
from llmsim.workload.trace_format import CountTokens, Placed, RecordFormat

_TEXTS = ("text_input", "messages", "payload")
_KEPT = ("timestamp", "output_length", "session_id", "delay")


class MooncakeText(RecordFormat):
    """Milliseconds, `output_length`, `session_id` and `delay` as in Mooncake's; tokens of the prompt are counted.

    Those of messages are counted without the words that a chat template puts around them.
    """

    arrival, prompt, output = "timestamp", "input_length", "output_length"
    clock = "ms"
    session, delay = "session_id", "delay"
    reads_text = True

    @classmethod
    def recognises(cls, record: Mapping[str, Any]) -> bool:
        """Whether the prompt is a text."""
        return "input_length" not in record and any(key in record for key in _TEXTS) and _is_asked(record)

    @classmethod
    def rows(cls, records: Iterable[Placed], count: CountTokens) -> Iterator[Placed]:
        """Count the tokens of each prompt; rows that say them keep theirs."""
        for place, record in records:
            row = {key: record[key] for key in _KEPT if record.get(key) is not None}
            row.setdefault("output_length", _most_tokens(record))
            if row["output_length"] is None:
                raise InputError(f"{place}: no output_length: how many tokens the answer has is not told")
            try:
                row["input_length"] = record.get("input_length") or count(_prompt(place, record))
            except InputError as error:
                said = str(error)
                raise InputError(said if said.startswith(place) else f"{place}: {said}") from None
            yield place, row


def _is_asked(record: Mapping[str, Any]) -> bool:
    return any(key in record for key in ("timestamp", "output_length", "session_id", "delay", "payload"))


def _most_tokens(record: Mapping[str, Any]) -> Any:
    payload = record.get("payload")
    if not isinstance(payload, Mapping):
        return None
    return payload.get("max_completion_tokens", payload.get("max_tokens"))


def _prompt(place: str, record: Mapping[str, Any]) -> str:
    """All of a prompt's text."""
    if isinstance(record.get("text_input"), str):
        return str(record["text_input"])
    payload = record.get("payload")
    asked: Mapping[str, Any] = payload if isinstance(payload, Mapping) else record
    if isinstance(asked.get("prompt"), str):
        return str(asked["prompt"])
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InputError(f"{place}: no prompt: expected input_length, text_input, messages or payload")
    return "".join(_content(place, number, one) for number, one in enumerate(messages))


def _content(place: str, number: int, message: Any) -> str:
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, list):  # parts; those that are no text have no tokens that could be counted here
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if any(not isinstance(part, str) for part in parts):
            raise InputError(f"{place}, message {number}: has a part that is no text, whose tokens are not known")
        return "".join(map(str, parts))
    if content is None and isinstance(message, Mapping) and message.get("tool_calls"):
        return str(message["tool_calls"])
    if not isinstance(content, str):
        raise InputError(f"{place}, message {number}: expected a text as its content")
    return content
