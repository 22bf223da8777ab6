"""Traces that are no rows of numbers: arrays, texts, spans, files without times, and turns that say what is new."""

from __future__ import annotations

import importlib.util
import json
import re

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.workload.sessions import NO_REQUEST
from llmsim.workload.traces import read_trace

MOON = {"timestamp": 1000, "input_length": 640, "output_length": 5}
CHAT = {"id": "a", "conversations": [{"from": "human", "value": "x" * 40}, {"from": "gpt", "value": "y" * 10}]}
COUNTED = {"tokens_per_character": 0.25}
START_NS = 1_715_299_200_000_000_000


@pytest.fixture
def write(tmp_path):
    def write(value, name="trace"):
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else "".join(json.dumps(row) + "\n" for row in value))
        return path

    return write


def seen(workload):
    return [*zip(*(x.tolist() for x in (workload.arrival_s, workload.prompt_tokens, workload.output_tokens)))]  # noqa: B905


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_is_read_as_lines_are(write, indent):
    rows = [MOON | {"timestamp": at, "hash_ids": [7, at]} for at in (0, 500)]
    array, lines = read_trace(write(json.dumps(rows, indent=indent), "array")), read_trace(write(rows))

    assert seen(array) == seen(lines) == [(0.0, 640, 5), (0.5, 640, 5)]
    assert array.prefixes.ids.tolist() == lines.prefixes.ids.tolist()


@pytest.mark.parametrize("indent", [None, 2])
def test_what_is_wrong_in_an_array_is_named_by_its_record(write, indent):
    rows = [MOON, MOON | {"input_length": "x"}]

    with pytest.raises(InputError, match=r"record 2: input_length is 'x', expected a whole number of at least 1"):
        read_trace(write(json.dumps(rows, indent=indent)))


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_delimiters_are_told_by_the_header(write, mark):
    text = f"arrival_s{mark}prompt_tokens{mark}output_tokens\n0{mark}10{mark}1\n1.5{mark}20{mark}2\n"

    assert seen(read_trace(write(text))) == [(0.0, 10, 1), (1.5, 20, 2)]
    with pytest.raises(
        InputError, match=re.escape(f"line 3: 2 fields, expected 3 as in the header: {f'1.5{mark}20'!r}")
    ):
        read_trace(write(text.replace(f"{mark}2\n", "\n")))


def test_the_first_exchange_of_each_conversation_counts(write):
    more = CHAT | {"conversations": [*CHAT["conversations"], {"from": "human", "value": "z" * 4000}]}
    short = CHAT | {"conversations": CHAT["conversations"][:1]}
    workload = read_trace(write(json.dumps([more, short, CHAT])), **COUNTED)

    assert seen(workload) == [(0.0, 10, 3)] * 2
    assert "1 conversations without a prompt and an answer left out" in workload.source
    assert "no times in it" in workload.source
    assert "all at once" in workload.source


def test_texts_ask_how_to_count_and_numbers_refuse_it(write):
    with pytest.raises(InputError, match=r"record 1: holds texts.*tokens_per_character \(English: about 0.25\)"):
        read_trace(write(json.dumps([CHAT])))
    with pytest.raises(InputError, match="has numbers of tokens, so that workload"):
        read_trace(write([MOON]), **COUNTED)
    with pytest.raises(InputError, match="exclude each other"):
        read_trace(write([CHAT]), tokenizer="t.json", **COUNTED)


@pytest.mark.skipif(importlib.util.find_spec("tokenizers") is None, reason="the package tokenizers is not installed")
def test_a_tokenizer_counts(write, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    chat = {"conversations": [{"from": "human", "value": "a b c"}, {"from": "gpt", "value": "d e"}]}

    assert seen(read_trace(write([chat]), tokenizer=str(tmp_path / "tokenizer.json"))) == [(0.0, 3, 2)]
    with pytest.raises(InputError, match=r"not a tokenizer.json"):
        read_trace(write([chat]), tokenizer=str(tmp_path / "trace"))


@pytest.mark.parametrize(
    ("prompt", "tokens"),
    [
        ({"text_input": "x" * 40}, 10),
        ({"messages": [{"role": "user", "content": "x" * 20}, {"role": "user", "content": "y" * 20}]}, 10),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 8}]}]}, 2),
        ({"payload": {"prompt": "x" * 4, "max_tokens": 5}}, 1),
    ],
)
def test_prompts_as_text_are_counted(write, prompt, tokens):
    row = {"timestamp": 1500, **prompt} | ({} if "payload" in prompt else {"output_length": 5})

    assert seen(read_trace(write([row]), **COUNTED)) == [(1.5, tokens, 5)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text_input": ""}, "line 2: input_length is 0, expected a whole number of at least 1"),
        ({"text_input": 7}, "line 2: no prompt: expected input_length, text_input, messages or payload"),
        ({"messages": [{"content": [{"image_url": "u"}]}]}, "line 2, message 0: has a part that is no text"),
        ({"text_input": "x", "output_length": None}, "line 2: no output_length"),
        ({"text_input": "x", "output_length": "7"}, "line 2: output_length is '7', expected a whole number"),
    ],
)
def test_what_is_wrong_with_a_text_is_named(write, row, message):
    rows = [{"timestamp": 0, "text_input": "x", "output_length": 5}, {"timestamp": 1, "output_length": 5} | row]

    with pytest.raises(InputError, match=message):
        read_trace(write(rows), **COUNTED)


def otlp(*spans):
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def span(name, at_ms=0, parent="", operation="chat", **attributes):
    given = {"gen_ai.operation.name": {"stringValue": operation}}
    given |= {key.replace("_", ".", 1).replace(".ai_", "_ai."): value for key, value in attributes.items()}
    listed = [{"key": key, "value": value} for key, value in given.items()]
    start = str(START_NS + at_ms * 10**6)
    return {"spanId": name, "parentSpanId": parent, "startTimeUnixNano": start, "attributes": listed}


def usage(prompt, output):
    return {
        "gen_ai.usage.input_tokens": {"intValue": str(prompt)},
        "gen_ai.usage.output_tokens": {"intValue": str(output)},
    }


def of(name, tokens, **more):
    one = span(name, **more)
    one["attributes"] += [{"key": key, "value": value} for key, value in usage(*tokens).items()]
    return one


def test_spans_with_usage_are_requests_once_each(write):
    """A client's span around a server's is one request, an agent's span is none, and what has no usage is none."""
    agent = of("agent", (99, 99), operation="invoke_agent")
    client, http = of("client", (10, 2), at_ms=100, parent="agent"), span("http", 110, parent="client")
    server, second = of("server", (10, 2), at_ms=120, parent="http"), of("second", (30, 4), at_ms=600, parent="agent")
    batches = [otlp(server, http), otlp(client), otlp(second, agent)]  # inner spans end, and are exported, first

    for path in (write(batches), write(json.dumps(batches, indent=1), "array")):
        workload = read_trace(path)
        assert seen(workload) == [(0.0, 10, 2), (0.5, 30, 4)]
        assert "2 spans that are no requests of a model left out" in workload.source
        assert "1 spans inside one of the same request left out" in workload.source
        assert "times from 2024-05-10 00:00:00 UTC" in workload.source


def test_one_span_an_object_with_older_names(write):
    """As the Python SDK prints them; vLLM writes the names of tokens from before 1.27."""
    rows = [
        {
            "name": "llm_request",
            "context": {"span_id": str(i)},
            "parent_id": None,
            "start_time": f"2024-05-10T00:00:0{i}.250000Z",
            "attributes": {"gen_ai.usage.prompt_tokens": 10 * i, "gen_ai.usage.completion_tokens": i},
        }
        for i in (1, 2)
    ]
    rows[1]["attributes"]["gen_ai.conversation.id"] = "c"
    workload = read_trace(write(rows))

    assert seen(workload) == [(0.0, 10, 1), (1.0, 20, 2)]
    assert len(set(workload.user.tolist())) == 2


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (otlp(7), "line 2, span 0: expected an object"),
        ({"resourceSpans": 7}, "line 2: expected a list as its resourceSpans"),
        (otlp({"attributes": 7}), "line 2, span 0: expected a list of key and value"),
        (otlp(of("a", (1, 1)) | {"startTimeUnixNano": "soon"}), "line 2, span 0: no startTimeUnixNano"),
        (otlp(of("a", (0, 1))), "line 2, span 0: prompt_tokens is 0, expected a whole number of at least 1"),
    ],
)
def test_what_is_wrong_with_a_span_is_named(write, record, message):
    with pytest.raises(InputError, match=message):
        read_trace(write([otlp(of("fine", (3, 3))), record]))


def test_a_file_without_times_takes_those_that_are_drawn(write):
    path = write("prompt_tokens,output_tokens\n10,1\n20,0\n30,3\n")

    assert seen(read_trace(path)) == [(0.0, 10, 1), (0.0, 30, 3)]
    assert seen(read_trace(path, arrivals=lambda n: np.arange(n) + 1.0)) == [(1.0, 10, 1), (3.0, 30, 3)]
    with pytest.raises(InputError, match=r"no times in it \(no column 'arrival_s'\); say when its requests come"):
        read_trace(path, timeless=False)
    with pytest.raises(InputError, match="here limit alone can choose"):
        read_trace(path, duration_s=5.0)
    rows = [{"input_length": 3, "output_length": 4}, {"timestamp": 5, "input_length": 3, "output_length": 4}]
    with pytest.raises(InputError, match="timestamp is 5, expected no time of arrival, as in the first row"):
        read_trace(write(rows))


def test_times_that_are_drawn_replace_those_of_the_file_in_its_order_of_time(write):
    rows = [MOON | {"timestamp": at, "input_length": n} for at, n in ((900, 1), (100, 2), (500, 3))]

    assert seen(read_trace(write(rows), arrivals=lambda n: np.arange(n) * 10.0)) == [
        (0.0, 2, 5),
        (10.0, 3, 5),
        (20.0, 1, 5),
    ]


TURNS = [
    {"session_id": "a", "input_length": 300, "output_length": 40},
    {"session_id": "b", "input_length": 7, "output_length": 3},
    {"session_id": "a", "delay": 2000, "input_length": 150, "output_length": 20},
    {"session_id": "a", "input_length": 10, "output_length": 0},
]


def test_turns_without_times_follow_each_other(write):
    """AIPerf's example of conversations: no times, and a turn without a delay is sent at once."""
    workload = read_trace(write(TURNS), arrivals=lambda n: np.arange(n) * 10.0)

    assert seen(workload) == [(0.0, 300, 40), (2.0, 150, 20), (10.0, 7, 3)]
    assert workload.sessions.after.tolist() == [NO_REQUEST, 0, NO_REQUEST]
    assert 'if rows hold what is new alone: workload.turns = "new"' in workload.source


def test_new_turns_repeat_all_that_was_said_before(write):
    workload = read_trace(write(TURNS), turns="new", arrivals=lambda n: np.arange(n) * 10.0)

    assert workload.prompt_tokens.tolist() == [300, 340 + 150, 7]
    first, second = (dict(zip(*(x.tolist() for x in workload.prefixes.of(i)), strict=True)) for i in (0, 1))
    assert list(first.values()) == [340]
    assert list(second.values()) == [340, 510]
    assert first.keys() & second.keys()
    assert "if rows hold what is new" not in workload.source


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([MOON], 'turns = "new" is of conversations, and no row names one'),
        ([MOON | {"session_id": "a", "hash_ids": [1, 2]}], "hash_ids are of whole prompts"),
    ],
)
def test_new_turns_need_conversations_and_no_hashes(write, rows, message):
    with pytest.raises(InputError, match=message):
        read_trace(write(rows), turns="new")
