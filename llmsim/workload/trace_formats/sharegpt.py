"""Conversations as text: ShareGPT's JSON, and what is written like it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from llmsim.errors import InputError
from llmsim.workload.trace_format import CountTokens, Placed, RecordFormat

_KEYS = ("conversations", "conversation")


class ShareGpt(RecordFormat):
    """The first exchange of each conversation, as vLLM's and SGLang's benchmarks take it; without times."""

    arrival, prompt, output = "arrival_s", "prompt_tokens", "output_tokens"
    reads_text = True

    @classmethod
    def recognises(cls, record: Mapping[str, Any]) -> bool:
        """Whether the record has a list of messages."""
        return any(isinstance(record.get(key), list) for key in _KEYS)

    @classmethod
    def rows(cls, records: Iterable[Placed], count: CountTokens) -> Iterator[Placed]:
        """Count the tokens of the first two messages."""
        for place, record in records:
            messages = next((record[key] for key in _KEYS if key in record), None)
            if not isinstance(messages, list):
                raise InputError(f"{place}: no list of conversations")
            texts = [_text(place, number, one) for number, one in enumerate(messages[:2])]
            if len(texts) < 2 or not all(texts):
                yield place, "conversations without a prompt and an answer"
                continue
            try:
                prompt, output = map(count, texts)
            except InputError as error:
                raise InputError(f"{place}: {error}") from None
            yield place, {cls.prompt: prompt, cls.output: output}


def _text(place: str, number: int, message: Any) -> str:
    """What a message says: `value` of ShareGPT, `content` of OpenAI's chats."""
    text = message.get("value", message.get("content")) if isinstance(message, Mapping) else None
    if not isinstance(text, str):
        raise InputError(f"{place}, message {number}: expected a text as its value")
    return text
