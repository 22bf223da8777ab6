"""A grammar of bad inputs: good files and words, spoiled in one way each. The n-th of a seed is always the same."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.hostile import good_files

JUNK = (
    *("", "nan", "inf", "-inf", "-1", "0", "1e309", "1e-320", "-0.0", "0x10", "1_0", "true", "null", "[]", "{}", '""'),
    *(
        "9" * 30,
        "9" * 5000,
        "1" + "0" * 400,
        "1e" + "9" * 30,
        "[[1]]",
        "[" * 3000,
        "{a={a={a=1}}}",
        "'[/b]'",
        '"\\u0000"',
    ),
    *("1e18", "1e-9", "999999999", "18446744073709551616", "'x'", "'../../etc/passwd'", "'\U0001f600'", "1979-05-27"),
    *(
        "07:32:00",
        "[1, 'a', {}]",
        "'" + "x" * 5000 + "'",
        "-9223372036854775809",
        "=",
        "a=b=c",
        "'%s%n'",
        "'/dev/zero'",
    ),
)
#: bodies of a policy that break the contract
SCHEDULES = (
    *("sys.exit()", "sys.exit('bye')", "raise KeyboardInterrupt", "raise GeneratorExit", "raise BrokenPipeError"),
    *("return 1 / 0", "return None", "return {}", "return Decision({0: -1})", "return Decision({0: 10**30})"),
    *("return Decision({99: 1})", "return Decision({0: 1.5})", "return Decision(5)", "return Decision(prefill='abc')"),
    *("return Decision(hold=frozenset([7]))", "return Decision(preempt=(0, 0))", "return Decision(preempt=None)"),
    *(
        "return Decision(abandon='all')",
        "return Decision(review_at_s=float('nan'))",
        "return Decision(review_at_s='x')",
    ),
    *(
        "return DECODE",
        "return Decision(decode=False)",
        "return Decision(order=(1, 2))",
        "return Decision(looked_up=(3,))",
    ),
    "return Decision(preempt=tuple(r.id for r in view.running)) if view.num_running else "
    "Decision({next(iter(view.waiting)).id: 1})",
    "for r in view.waiting: r.prompt_tokens = 1\n        return super().schedule(view)",
    "for r in view.running: r.emitted_before += 1\n        return super().schedule(view)",
    "for r in view.running: r.prefilled_tokens = 0\n        return super().schedule(view)",
    "view._requests.running.clear()\n        return super().schedule(view)",
    "view.free_blocks = 10**9\n        return super().schedule(view)",
    "raise ValueError('[/b]' * 1000 + chr(10) + 'x')",
    "raise type('Odd', (Exception,), {'__str__': lambda self: 1})()",
    "return schedule",
    "return self.schedule(view)",
    "open('/no/such/file')",
    "warnings.warn('x')",
    "raise MemoryError",
    # what a policy is free to return in Python, and how it may fail while it is told of
    "yield Decision({0: 1})",
    "import numpy\n        return Decision({r.id: numpy.float64('nan') for r in view.waiting})",
    "raise type('Odd', (Exception,), {'__str__': lambda self: sys.exit(0)})()",
    "return type('Odd', (), {'__repr__': lambda self: sys.exit(0)})()",
    "return Decision(hold=type('Odd', (), {'__repr__': lambda self: sys.exit(0)})())",
    "raise BaseExceptionGroup('both', [SystemExit(0), ValueError('x')])",
    "sys.stdout.close()\n        return super().schedule(view)",
    "raise ValueError(chr(0xD800))",
    "view.waiting.append(1)",
    "return Decision(decode=False, review_at_s=view.now_s + 1e-9)",
    "return Decision(decode=False, review_at_s=float('-inf'))",
    "sys.setrecursionlimit(60)\n        return super().schedule(view)",
)
LATENCIES = (
    *("return 0.0", "return -1.0", "return float('nan')", "return float('inf')", "return '1'", "return None"),
    *("sys.exit(0)", "return 1 / 0", "return 1e-300", "return 1e300", "raise KeyboardInterrupt", "return [0.1]"),
)
#: whole policy files that break before there is a policy
FILES_OF_CODE = (
    *("", "import no_such_module", "def f(:", "raise SystemExit", "raise KeyboardInterrupt", "1 / 0", "\0", "x = 1"),
    "from llmsim.scheduler import Scheduler\nclass A(Scheduler): pass\n",
    "from llmsim.schedulers.fcfs import Fcfs\nclass A(Fcfs):\n    def __init__(self): raise SystemExit(0)\n",
    "from llmsim.schedulers.fcfs import Fcfs\nclass A(Fcfs): pass\nclass B(Fcfs): pass\n",
    "from dataclasses import dataclass\nfrom llmsim.schedulers.fcfs import Fcfs\n"
    "@dataclass(frozen=True)\nclass A(Fcfs):\n    x: 'NoSuchType' = 1\n",
    "import sys\nfrom llmsim.schedulers.fcfs import Fcfs\nclass A(Fcfs):\n"
    "    @property\n    def most_running(self): sys.exit()\n",
    "from llmsim.schedulers.fcfs import Fcfs\nclass A(Fcfs):\n    needs_prediction = property(lambda self: 1 / 0)\n",
)
RUN = ("run", "--json")


@dataclass(frozen=True)
class Case:
    """A bad input: the words of a command, and the files that it finds in its folder."""

    about: str
    words: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    special: Mapping[str, str] = field(default_factory=dict)  #: file -> "pipe", "folder", "device"
    stored: tuple[str, str, str] | None = None  #: a stored result, a file in it, and how that is spoiled

    def lay_out(self, folder: Path, stored: Path) -> None:
        """Write its files into an empty folder."""
        for name in (*self.files, *self.special):
            (folder / name).parent.mkdir(exist_ok=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        for name, kind in self.special.items():
            if kind == "pipe":
                os.mkfifo(folder / name)
            elif kind == "device":
                (folder / name).symlink_to("/dev/zero")
            else:
                (folder / name).mkdir()
        if self.stored is not None:
            kind, name, how = self.stored
            shutil.copytree(stored / kind, folder / kind)
            file = sorted((folder / kind).rglob(name))[0]
            _spoil_in_place(file, how)


def cases(seed: int) -> Iterator[Case]:
    """Yield bad inputs, without end, in an order that takes from all kinds in turn."""
    rng = random.Random(seed)
    kinds = [_scenarios, _options, _traces, _populations, _results, _policies, _latencies, _profiles, _stored, _words]
    while True:
        for kind in kinds:
            yield kind(rng)


def _spoiled_file(rng: random.Random, name: str, data: bytes, words: tuple[str, ...], about: str) -> Case:
    if rng.random() < 0.08:
        kind = rng.choice(["pipe", "folder", "device", "missing"])
        special = {} if kind == "missing" else {name: kind}
        return Case(f"{about}: {kind}", words, special=special)
    spoil = rng.choice(SPOILS)
    return Case(f"{about}: {spoil.__name__.strip('_')}", words, {name: spoil(rng, data)})


def _scenarios(rng: random.Random) -> Case:
    command = rng.choice(
        [
            ("run", "bad.toml", "--json"),
            ("sweep", "bad.toml", "--jobs", "1", "--out", "out", "--json"),
            ("compare", "bad.toml", "--schedulers", "fcfs,static", "--json"),
            ("plan", "bad.toml", "--json"),
            ("audit", "bad.toml"),
            ("init", "new.toml", "--from", "bad.toml"),
        ]
    )
    return _spoiled_file(rng, "bad.toml", good_files.SCENARIO.encode(), command, f"scenario, {command[0]}")


def _options(rng: random.Random) -> Case:
    key, value = rng.choice(_keys()), rng.choice(JUNK)
    command = rng.choice([RUN, RUN, RUN, ("sweep", "--jobs", "1", "--out", "out"), ("plan", "--json")])
    if command[0] == "sweep" and rng.random() < 0.5:
        words = ("sweep", "small.toml", *command[1:], "--axis", f"{key}={value},{rng.choice(JUNK)}")
    else:
        words = (command[0], "small.toml", *command[1:], "--set", f"{key}={value}")
    return Case(f"--set {key} = {value[:30]}", words, {"small.toml": good_files.SCENARIO.encode()})


def _keys() -> list[str]:
    from llmsim.cli.keys import all_keys

    return sorted({re.sub(r"\.?<[^>]*>|\[\]", "", key.path) for key in all_keys()})


def _traces(rng: random.Random) -> Case:
    if rng.random() < 0.15:
        words = ("run", "quickstart", "--json", "--set", "workload.servegen=bad", "--set", "workload.limit=9")
        return _spoiled_file(rng, "bad", good_files.clients(), words, "clients")
    name, text = rng.choice(list(good_files.traces().items()))
    command = rng.choice(
        [
            ("run", "quickstart", "--json", "--set", "workload.trace=bad", "--set", "cluster.latency=roofline"),
            ("trace", "show", "bad"),
            ("trace", "convert", "bad", "out.jsonl"),
            ("trace", "fit", "bad"),
        ]
    )
    return _spoiled_file(rng, "bad", text.encode(), command, f"trace {name}, {' '.join(command[:2])}")


def _populations(rng: random.Random) -> Case:
    """ServeGen's clients in a folder, one file of one of them spoiled."""
    files = {f"pop/{name}": data.encode() for name, data in good_files.population().items()}
    name = rng.choice(sorted(files))
    workload = f'workload={{servegen="pop",duration_s={rng.choice([60, 600, 3000])}}}'
    words = ("run", "quickstart", "--json", "--set", workload, "--set", "workload.limit=9")
    case = _spoiled_file(rng, name, files[name], words, f"population, {name}")
    del files[name]
    return Case(case.about, words, {**files, **case.files}, case.special)


def _results(rng: random.Random) -> Case:
    name, text = rng.choice(list(good_files.results().items()))
    command = rng.choice(
        [
            ("score", "bad", "--json"),
            ("score", "bad", "--ttft-s", "1"),
            ("audit", "bad", "--ttft-s", "1", "--tbt-s", "0.2"),
            ("validate", "bad", "--scenario", "quickstart"),
            ("profile", "from-bench", "bad", "--scenario", "quickstart", "--out", "host.toml"),
        ]
    )
    return _spoiled_file(rng, "bad", text.encode(), command, f"result {name}, {command[0]}")


def _policies(rng: random.Random) -> Case:
    roll = rng.random()
    if roll < 0.25:
        code = rng.choice(FILES_OF_CODE)
    else:
        method = "schedule" if roll < 0.85 else rng.choice(["why_never", "new_queue"])
        code = good_files.POLICY.format(**(good_files.PASSES_ON | {method: rng.choice(SCHEDULES)}))
    command = rng.choice(
        [
            ("run", "small.toml", "--json", "--scheduler-file", "mine.py"),
            ("sweep", "small.toml", "--jobs", "1", "--out", "out", "--scheduler-file", "mine.py"),
            ("compare", "small.toml", "--schedulers", "fcfs,mine.py", "--json"),
            ("plan", "small.toml", "--json", "--scheduler-file", "mine.py"),
        ]
    )
    files = {"small.toml": good_files.SCENARIO.encode(), "mine.py": code.encode()}
    return Case(f"policy, {command[0]}: {code[-120:] if roll < 0.25 else code[350:]}", command, files)


def _latencies(rng: random.Random) -> Case:
    body = rng.choice(LATENCIES)
    command = rng.choice(["run", "sweep", "compare"])
    more = {"run": ("--json",), "sweep": ("--jobs", "1", "--out", "out"), "compare": ("--schedulers", "fcfs,static")}
    words = (command, "small.toml", *more[command], "--latency-file", "mine.py")
    files = {"small.toml": good_files.SCENARIO.encode(), "mine.py": good_files.LATENCY.format(body=body).encode()}
    return Case(f"latency, {command}: {body}", words, files)


def _profiles(rng: random.Random) -> Case:
    roll = rng.random()
    if roll < 0.2:
        words = ("profile", "fit", "bad.csv", "--model", "m", "--out", "out.json")
        return _spoiled_file(rng, "bad.csv", good_files.STEPS.encode(), words, "steps, profile fit")
    name, text = rng.choice(list(good_files.profiles().items()))
    if name == "gpu.toml":
        support = ("support", "llama-3.1-8b", name)
        key = "cluster.gpu"
    else:
        support = ("support", name, "a100-sxm4-80gb")
        key = "cluster.model"
    run = ("run", "small.toml", "--json", "--set", f"{key}={name}")
    case = _spoiled_file(rng, name, text.encode(), rng.choice([support, run]), f"profile {name}")
    return Case(case.about, case.words, {**case.files, "small.toml": good_files.SCENARIO.encode()}, case.special)


STORED_FILES = {
    "run": (
        "requests.parquet",
        "steps.parquet",
        "segments.parquet",
        "step_ends.parquet",
        "scenario.json",
        "score.json",
    ),
    "sweep": ("sweep.parquet", "sweep.json", "*.json"),
}
HOWS = ("cut", "flip", "empty", "text", "deep", "gone", "other", "seal", "null", "pipe")


def _stored(rng: random.Random) -> Case:
    kind = rng.choice(list(STORED_FILES))
    name, how = rng.choice(STORED_FILES[kind]), rng.choice(HOWS)
    if kind == "run":
        words = rng.choice([("score", "run"), ("audit", "run"), ("report", "run")])
    else:
        again = ("sweep", "small.toml", "--jobs", "1", "--out", "sweep", "--json")
        words = rng.choice([("report", "sweep"), again])
    return Case(
        f"stored {kind}, {name} {how}, {words[0]}",
        words,
        {"small.toml": good_files.SCENARIO.encode()},
        stored=(kind, name, how),
    )


def _spoil_in_place(file: Path, how: str) -> None:
    data = file.read_bytes()
    at = len(data) // 2
    if how == "gone":
        file.unlink()
    elif how == "pipe":
        file.unlink()
        os.mkfifo(file)
    elif how == "seal":
        (file.parent / "seal.json").unlink(missing_ok=True)
    else:
        spoiled = {
            "cut": data[:at],
            "flip": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
            "empty": b"",
            "text": b"hello",
            "deep": b'{"a":' * 5000,
            "other": next(one for one in sorted(file.parent.iterdir()) if one != file and one.is_file()).read_bytes(),
            "null": re.sub(rb'"score": \{', b'"score": null, "x": {', data),
        }
        file.write_bytes(spoiled[how])


#: options with values that make no sense, and words where none belong
WORDS = (
    *(("run",), ("run", ""), ("run", "no-such"), ("run", "/dev/zero"), ("run", "/dev/null"), ("run", ".")),
    *(
        ("run", "small.toml", "--seed", "x"),
        ("run", "small.toml", "--out", "small.toml"),
        ("run", "small.toml", "--nope"),
    ),
    *(("run", "small.toml", "--save-as", "vllm_bench"), ("run", "small.toml", "--save-as", "x=y")),
    *(("run", "small.toml", "--perfetto", "/no/such/folder/x"), ("run", "small.toml", "--decision-limit-s", "-1")),
    *(
        ("sweep", "small.toml", "--jobs", "0"),
        ("sweep", "small.toml", "--seeds", "-3"),
        ("sweep", "small.toml", "--axis", "="),
    ),
    *(("sweep", "small.toml", "--axis", "cluster.instances"), ("sweep", "small.toml", "--seeds", "1000000000")),
    ("sweep", "small.toml", "--axis", "cluster.instances={start=1, stop=1e18, step=1}"),
    ("sweep", "small.toml", "--axis", "cluster.instances={start=1, stop=9, num=1000000000}"),
    ("sweep", "small.toml", "--dask", "tcp://127.0.0.1:1", "--out", "out"),
    *(("compare", "small.toml"), ("compare", "small.toml", "--schedulers", ","), ("compare", "small.toml", "no-such")),
    ("compare", "small.toml", "--schedulers", "fcfs,static", "--fail-if", "ttft_s.p99 >"),
    ("compare", "small.toml", "--schedulers", "fcfs,static", "--fail-if", "nope > 1"),
    ("compare", "small.toml", "--schedulers", "fcfs,fcfs", "--allow", "nope"),
    *(
        ("plan", "quickstart"),
        ("plan", "small.toml", "--jobs", "-1"),
        ("score",),
        ("score", "small.toml"),
        ("audit", "none"),
    ),
    *(
        ("score", "small.toml", "--window", "x"),
        ("score", "small.toml", "--penalty", "x"),
        ("report", "none"),
        ("report", "small.toml"),
    ),
    *(
        ("list", "nope"),
        ("list", "keys", "nope"),
        ("support", "nope", "h100"),
        ("support", "llama-3.1-8b", "nope"),
        ("nope",),
    ),
    *(
        ("validate", "nope"),
        ("bench", "nope"),
        ("bench", "--requests", "1"),
        ("trace", "show", "none"),
        ("trace", "nope"),
    ),
    *(
        ("profile", "show", "nope"),
        ("init", "/no/such/folder/x.toml"),
        ("schema", "nope"),
        ("figures", "nope"),
        ("--nope",),
    ),
)


def _words(rng: random.Random) -> Case:
    words = rng.choice(WORDS)
    if rng.random() < 0.3:
        words = (*words, rng.choice(["\0", "\n", "-", "--", "--set", "--set=", "\ud800", "[/b]", "a" * 5000, "--json"]))
    words = tuple(word.replace("\0", "?").encode("utf-8", "replace").decode() for word in words)  # as a shell would
    return Case(f"words {' '.join(words)[:120]}", words, {"small.toml": good_files.SCENARIO.encode()})


# Ways to spoil the text of a file ------------------------------------------------------------------------------

Spoil = Callable[[random.Random, bytes], bytes]


def _cut_off(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _flipped(rng: random.Random, data: bytes) -> bytes:
    spoiled = bytearray(data)
    for _ in range(rng.choice([1, 3, 20])):
        spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
    return bytes(spoiled)


def _number_replaced(rng: random.Random, data: bytes) -> bytes:
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", data))
    at = rng.choice(numbers) if numbers else None
    junk = rng.choice(JUNK).encode("utf-8", "replace")
    return junk if at is None else data[: at.start()] + junk + data[at.end() :]


def _word_replaced(rng: random.Random, data: bytes) -> bytes:
    words = list(re.finditer(rb"[A-Za-z_]{3,}", data))
    at = rng.choice(words) if words else None
    junk = rng.choice(JUNK).encode("utf-8", "replace")
    return junk if at is None else data[: at.start()] + junk + data[at.end() :]


def _line_changed(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    change = rng.choice(["twice", "gone", "moved", "spaces"])
    if change == "twice":
        lines.insert(at, lines[at])
    elif change == "gone":
        del lines[at]
    elif change == "moved":
        lines.insert(0, lines.pop(at))
    else:
        lines[at] += b" " * 100_000 + b"x"
    return b"\n".join(lines)


def _value_of_json_replaced(rng: random.Random, data: bytes) -> bytes:
    """Put something else in the place of a value at any depth."""
    try:
        value = json.loads(data)
    except ValueError:
        return _number_replaced(rng, data)
    place = value
    for _ in range(rng.randrange(1, 6)):
        keys = list(place) if isinstance(place, dict) else list(range(len(place))) if isinstance(place, list) else []
        if not keys:
            break
        key = rng.choice(keys)
        if rng.random() < 0.4 or not isinstance(place[key], dict | list):
            place[key] = rng.choice([None, -1, 1e308, "x", [], {}, True, [[]], 10**19, "nan", [None], {"a": 1}, ""])
            break
        place = place[key]
    return json.dumps(value).encode()


def _deep(rng: random.Random, data: bytes) -> bytes:
    opening = rng.choice([b"[", b'{"a":', b"a.", b"[[", b"{a={"])
    return rng.choice([b"", b"x = ", data + b"\n"]) + opening * rng.choice([50, 1000, 100_000])


def _bytes_of_any_kind(rng: random.Random, data: bytes) -> bytes:
    return rng.choice(
        [
            b"",
            b"\n",
            b"\0" * 100,
            b"\xff\xfe" + data,
            b"\xef\xbb\xbf" + data,
            data.replace(b"\n", b"\r\n"),
            rng.randbytes(200),
        ]
    )


@cache
def _bombs() -> tuple[bytes, ...]:
    """Gzip files that expand to much more than they are."""
    return tuple(
        gzip.compress(line * (68 * (1 << 20) // len(line)), 1, mtime=0) for line in (b"0", b"1,1,1\n", b'{"a": [1]}\n')
    )


def _zipped(rng: random.Random, data: bytes) -> bytes:
    packed = rng.choice(_bombs()) if rng.random() < 0.2 else gzip.compress(data, mtime=0)
    return rng.choice([packed, packed[:-8], packed[: len(packed) // 2], packed + b"x", b"\x1f\x8b" + data])


def _long(rng: random.Random, data: bytes) -> bytes:
    return data + rng.choice([b"#" * (5 << 20), b"x" * (5 << 20), b" " * (5 << 20), b"9" * 100_000, b"," * 100_000])


SPOILS: tuple[Spoil, ...] = (
    *(_cut_off, _flipped, _number_replaced, _number_replaced, _word_replaced, _word_replaced, _line_changed),
    *(_value_of_json_replaced, _value_of_json_replaced, _deep, _bytes_of_any_kind, _zipped, _long),
)
