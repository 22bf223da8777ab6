"""The pages of the reference that are written by the code: scenario keys, KPIs, columns, commands."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from llmsim import record
from llmsim.cli.keys import all_keys
from llmsim.experiment.result_folder import DELIVERED_COLUMNS
from llmsim.metrics import catalogue
from llmsim.metrics.kpi import Kpi, Section
from llmsim.scenario import Scenario
from llmsim.scenario.reference import Key, meanings, sentence, tables_of, unit_of

#: what the columns of a result's tables mean where the code does not say it beside their names
SAID = {
    "request": "row of requests.parquet",
    "instance": "number of the instance, from 0; -1: none",
    "id": "number of the request, from 0 in order of arrival",
    "arrival_s": "when it arrives, at the client's side",
    "sent_s": "when the client sends it: its arrival, or later behind a limit of requests in flight",
    "prompt_tokens": "length of its prompt",
    "output_tokens": "length of its output, had it been allowed to finish",
    "first_scheduled_s": "when its first token was scheduled for computing; NaN: never",
    "first_token_s": "when the GPU had computed its first output token; NaN: never",
    "end_s": "when it ended, whatever its outcome",
    "outcome": "finished, abandoned, cancelled, rejected or unfinished",
    "reason": "why it was rejected or abandoned; empty otherwise",
    "emitted_tokens": "output tokens that the GPU computed",
    "preemptions": "how often it lost its KV blocks and had to be computed again",
    "class": "its class of [[workload.classes]], if there are any",
    "pool": "pool of its instance, if there are [[pool]] tables",
    "delivered_tokens": "output tokens that reached the user",
    "first_token_delivered_s": "when the first token reached the user; NaN: never",
    "last_token_delivered_s": "when the last token reached the user; NaN: never",
    "delivered_s": "when this token reached the user, in order within each request",
    "prefill_tokens": "prompt tokens computed in it",
    "start_s": "when it starts",
    "head_s": "time of the first token, computed with the end of the prompt; NaN: the segment has none",
    "first_step": "the instance's decode step that emits the first token of the range",
    "steps": "decode steps in the range, one token each",
    "attempt": "0 for the first try, 1 for the first retry, and so on",
    "conversation": "the conversation that it belongs to, from 0",
    "turn": "its place in the conversation, from 0",
    "turns": "how many turns the conversation has",
    "predicted_output_tokens": "the length that policies are told, if [prediction] says anything",
    "quality": "what the answer is worth, if [quality] says how good models are; 0: not answered",
    "queued_s": "when it enters an instance's queue: its sending, or later behind a gateway; NaN: never",
    "admitted_s": "when the gateway lets it through, if it has a limit; NaN: never",
    "state": "starting, ready or draining",
}
#: file of a result -> what a row is, and the catalogues of its columns
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "requests.parquet": ("One row for each request, in order of arrival.", ("ENDED_COLUMNS",)),
    "steps.parquet": (
        "One row for each engine step, or stretch of equal decode steps.",
        ("STEP_COLUMNS", "SPECULATIVE_STEP_COLUMNS"),
    ),
    "segments.parquet": (
        "One row for each range of token times; see `llmsim.record`.",
        ("SEGMENT_COLUMNS", "SPECULATIVE_SEGMENT_COLUMNS"),
    ),
    "step_ends.parquet": ("One row for each decode step: its end.", ()),
    "transfers.parquet": ("One row for each KV transfer; disaggregated clusters only.", ("TRANSFER_COLUMNS",)),
    "instances.parquet": ("One row for each state of an instance; autoscaling only.", ("INSTANCE_STATE_COLUMNS",)),
    "delivered_tokens.parquet": ("One row for each token; paced delivery only.", ()),
    "step_yields.parquet": ("One row for each step of each segment, in order; random acceptance only.", ()),
}
MORE_COLUMNS = {
    "requests.parquet": (
        *("id", "arrival_s", "sent_s", "admitted_s", "queued_s", "prompt_tokens", "output_tokens"),
        *(*DELIVERED_COLUMNS, "class", "pool", "predicted_output_tokens", "quality"),
        *("request", "attempt", "conversation", "turn", "turns"),
    ),
    "step_ends.parquet": ("instance", "end_s"),
    "delivered_tokens.parquet": ("request", "delivered_s"),
    "step_yields.parquet": ("tokens",),
}
#: where a name means something else in one table
OWN = {
    ("step_ends.parquet", "end_s"): "when the step ends",
    ("step_yields.parquet", "tokens"): "that the step has yielded of the segment's request",
    ("steps.parquet", "end_s"): "when it ends",
    ("instances.parquet", "end_s"): "when it ends",
    (
        "requests.parquet",
        "request",
    ): "the request that this row is an attempt at, where users retry or converse, or models pass it on",
}


def write_all(folder: Path) -> None:
    """Write every generated page into a folder, if it differs from what is there."""
    pages = {"scenario": scenario_page(), "kpis": kpi_page(), "tables": tables_page(), "cli": cli_page()}
    for name, text in pages.items():
        file = folder / f"{name}.md"
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown; a bar within a cell is escaped."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def code(text: str) -> str:
    """Set text as code; nothing stays nothing."""
    return f"`{text}`" if text else ""


def scenario_page() -> str:
    """Every key of a scenario."""
    said = {(path, variant): text for path, variant, text in tables_of(Scenario)}
    parts = [
        "# Scenario keys\n\nEvery key that a scenario's TOML file may have; `llmsim list keys TABLE` prints the same. "
        "On the command line `--set KEY=VALUE` changes one, its path from the top: "
        "`--set workload.arrivals.rate_per_s=4`. Units are in the names. "
        "*left out* is a default, too: the text says what happens then.\n"
    ]
    for top, keys in itertools.groupby(all_keys(), key=lambda key: key.table.partition(".")[0]):
        parts.append(f"## {f'[{top}]' if top else 'Top of the file'}\n")
        for (path, variant), group in itertools.groupby(keys, key=lambda key: (key.table, key.variant)):
            if path != top or variant:
                parts.append(
                    f"### [{path}]{f' with {variant}' if '=' in variant else f' {variant}' if variant else ''}\n"
                )
            if text := said.get((path, variant), ""):
                parts.append(f"{text}\n")
            rows = [_key_row(key) for key in group]
            parts.append(table(("key", "type", "unit", "default", "meaning", "vLLM"), rows) + "\n")
    return "\n".join(parts)


def _key_row(key: Key) -> tuple[str, ...]:
    return code(key.name), key.type, key.unit, code(key.default), key.meaning, code(key.vllm_name)


def kpi_page() -> str:
    """Every number of a score, section by section."""
    parts = [
        "# Numbers of a score\n\n`score.json` of a result, `llmsim run --json`, and `result.score` in Python have "
        "these numbers by their keys; so have `plan.targets`, `--fail-if` and the columns of a sweep. Formulas: "
        "[metrics](../background/metrics.md). A `*` in a key stands for the name of a pool, an instance or the like; "
        "classes have all of them under `classes.NAME`. *Tail*: withheld unless the run was steady. *Basis*: what "
        "other numbers rest on, no result.\n"
    ]
    for section in catalogue.sections():
        if numbers := list(catalogue.of_section(section)):
            parts.append(f"## {section.key or section.__name__}\n\n{sentence(inspect.getdoc(section) or '')}\n")
            rows = [_kpi_row(section, one) for one in numbers]
            parts.append(table(("key", "name", "unit", "better", "note"), rows) + "\n")
    return "\n".join(parts)


def _kpi_row(section: type[Section], one: Kpi) -> tuple[str, ...]:
    said = meanings(section)
    field = next((part for part in one.key.split(".") if part in said), "")
    kind = "basis" if one.kind == "basis" else "tail" if one.tail else ""
    called = f"also {', '.join(one.also)}" if one.also else ""
    notes = [note for note in (kind, called, one.sample, said.get(field, "")) if note]
    return code(one.key), one.name, one.unit, {1: "more", -1: "less"}.get(one.better, ""), "; ".join(notes)


def column_meanings() -> dict[str, dict[str, str]]:
    """What stands after ``#:`` beside columns in `llmsim.record`: catalogue -> column -> meaning, perhaps none."""
    source = inspect.getsource(record)
    comments = {
        token.start[0]: token.string.removeprefix("#:").strip()
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT and token.string.startswith("#:")
    }
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            (target,) = node.targets
            columns = {k.value: comments.get(k.lineno, "") for k in node.value.keys if isinstance(k, ast.Constant)}
            found[getattr(target, "id", "")] = {str(name): said for name, said in columns.items()}
    return found


def columns_of(file: str) -> Iterator[tuple[str, str]]:
    """Go through the columns of a table of results: name, meaning."""
    catalogues = column_meanings()
    seen = set()
    for name in MORE_COLUMNS.get(file, ()):
        seen.add(name)
        yield name, OWN.get((file, name)) or SAID[name]
    for columns in TABLES[file][1]:
        for name, said in catalogues[columns].items():
            if name not in seen:
                yield name, said or OWN.get((file, name)) or SAID[name]


def tables_page() -> str:
    """Every column of every table that a run stores."""
    parts = [
        "# Tables of a result\n\n`llmsim run` writes a folder with `scenario.json` (every key as it was), `score.json` "
        "([every number](kpis.md)), pictures, and these Parquet tables. Times are seconds from the start of the run. "
        "`pandas.read_parquet` reads them; `llmsim.run(...)` has the same columns in `result.record`.\n"
    ]
    for file, (row, _) in TABLES.items():
        rows = [(code(name), unit_of(name), said) for name, said in columns_of(file)]
        parts.append(f"## {file}\n\n{row}\n\n{table(('column', 'unit', 'meaning'), rows)}\n")
    return "\n".join(parts)


def commands() -> Iterator[tuple[str, Any]]:
    """Go through the commands of `llmsim`: words, Click's command."""
    import typer.main

    from llmsim.cli import app

    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        yield from ((f"{name} {word}", each) for word, each in inner.items()) if inner else [(name, command)]


def cli_page() -> str:
    """Every command with its arguments and options."""
    parts = [
        "# Command line\n\n`llmsim COMMAND --help` prints the same. Exit code 0: done; 1: a condition of `--fail-if` "
        "holds; 2: bad input, told in one line; 130: interrupted.\n"
    ]
    for words, command in commands():
        parts.append(f"## llmsim {words}\n\n{_prose(command.help or '')}\n")
        rows = [_option_row(each) for each in command.params if each.name != "help"]
        parts.append(table(("argument, option", "meaning", "default"), rows) + "\n")
    return "\n".join(parts)


def _option_row(option: Any) -> tuple[str, ...]:
    """One argument or option of Click's: how it is written, what it means, its default."""
    named = option.opts[0].startswith("-")
    words = [*option.opts, *([option.metavar] if option.metavar else [])]
    written = " ".join(words) if named else option.metavar or option.name.upper()
    return code(written), _prose(getattr(option, "help", "") or ""), _default(option)


def _prose(text: str) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text.strip()).replace("<", "&lt;")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return shown
    value = parameter.default
    return "" if value in (None, False, (), []) or callable(value) else code(str(value))
