"""`python -m tests.hostile`: bad inputs, kills and random configurations in numbers, and a report of what was found.

Exit code 1 if anything was. Each part can be repeated alone: the same seed and number give the same inputs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))  # for `places`, as pytest has it

from tests.hostile import configurations, good_files, inputs, kills, limited


def main() -> int:
    """Run what is asked for; print a line for each fault, and the sums as JSON."""
    asked = _asked()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    limited.preload()
    with tempfile.TemporaryDirectory(prefix="llmsim-hostile-") as place:
        folder = Path(place)
        report = {
            "seed": asked.seed,
            "inputs": _inputs(folder, asked.seed, asked.first, asked.inputs),
            "kills": _kills(folder, asked.seed, asked.kills),
            "configurations": _configurations(asked.seed, asked.configurations),
            "vllm": _vllm(asked.seed, asked.vllm),
        }
    text = json.dumps(report, indent=2)
    print(text)
    if asked.report is not None:
        asked.report.write_text(text + "\n", encoding="utf-8")
    return 1 if any(part["faults"] for part in report.values() if isinstance(part, dict)) else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    for name, number, words in (
        ("inputs", 1000, "bad inputs over all commands, each in a process with limits"),
        ("kills", 200, "commands killed at a random moment, or their workers, or on a full disk; then run again"),
        ("configurations", 10_000, "random configurations, each run three ways"),
        ("vllm", 500, "random workloads, against a naive engine by vLLM's rules"),
        ("seed", 0, "of everything drawn"),
        ("first", 0, "the first bad input: its number among those of the seed"),
    ):
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{words} ({number})")
    parser.add_argument("--report", type=Path, help="write the sums to this file")
    return parser.parse_args()


def _inputs(folder: Path, seed: int, first: int, count: int) -> dict[str, Any]:
    started_s, found, codes = time.monotonic(), [], Counter[str]()
    most_bytes = most_s = 0.0
    if count:
        stored = folder / "stored"
        stored.mkdir()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            good_files.write_stored(stored)
        for number, case, ended in _until_ctrl_c(tried(folder, stored, seed, first, count)):
            codes[str(ended.code)] += 1
            most_bytes, most_s = max(most_bytes, ended.bytes), max(most_s, ended.cpu_s)
            for fault in ended.faults():
                found.append(_told(f"input {number} ({case.about}): llmsim {' '.join(case.words)[:200]}: {fault}"))
    return {
        **{"tried": codes.total(), "faults": found, "exit_codes": codes, "most_mib": int(most_bytes) >> 20},
        **{"most_cpu_s": round(most_s, 2), "took_s": round(time.monotonic() - started_s)},
    }


def tried(
    folder: Path, stored: Path, seed: int, first: int, count: int
) -> Iterator[tuple[int, inputs.Case, limited.Ended]]:
    """Try bad inputs of a seed, each in a folder of its own; yield number, input, and how its command ended."""
    for number, case in enumerate(itertools.islice(inputs.cases(seed), first, first + count), start=first):
        own = folder / f"input-{number}"
        own.mkdir()
        case.lay_out(own, stored)
        yield number, case, limited.command(case.words, own)
        shutil.rmtree(own, ignore_errors=True)


def _kills(folder: Path, seed: int, count: int) -> dict[str, Any]:
    started_s, found, by_kind = time.monotonic(), [], Counter[str]()
    for one in _until_ctrl_c(kills.kills(folder, count, seed)):
        by_kind[f"{one.kind}, {one.how}, code {one.code}"] += 1
        found += [_told(f"{one.kind}, {one.how} at {one.share:.2f} (code {one.code}): {fault}") for fault in one.faults]
    took_s = round(time.monotonic() - started_s)
    return {"tried": by_kind.total(), "faults": found, "by_kind": dict(sorted(by_kind.items())), "took_s": took_s}


def _configurations(seed: int, count: int) -> dict[str, Any]:
    started_s, found, done = time.monotonic(), [], 0
    for number, wrong in _until_ctrl_c(_judged(seed, count)):
        done += 1
        found += [_told(f"configuration {number}: {fault[:300]}") for fault in wrong]
    return {"tried": done, "faults": found, "took_s": round(time.monotonic() - started_s)}


def _judged(seed: int, count: int) -> Iterator[tuple[int, list[str]]]:
    """Run configurations of a seed in every way; yield the number of each, and what is wrong."""
    for number, scenario in itertools.islice(configurations.configurations(1_000_000 * seed), count):
        try:
            wrong = configurations.disagreements(scenario)
        except Exception as error:
            wrong = [f"{type(error).__name__}: {error}"]
        yield number, wrong


def _vllm(seed: int, count: int) -> dict[str, Any]:
    started_s, found = time.monotonic(), []
    for number in range(1_000_000 * seed, 1_000_000 * seed + count):
        found += [_told(fault[:300]) for fault in configurations.disagreements_with_vllm(number)]
    return {"tried": count, "faults": found, "took_s": round(time.monotonic() - started_s)}


T = TypeVar("T")


def _until_ctrl_c(each: Iterator[T]) -> Iterator[T]:
    """Pass them on; Ctrl-C ends a part, whose report is of what was tried until then."""
    try:
        yield from each
    except KeyboardInterrupt:
        _told("interrupted: the report is of what was tried so far")


def _told(line: str) -> str:
    line = " ".join(line.split())
    print(line, file=sys.stderr, flush=True)
    return line


if __name__ == "__main__":
    sys.exit(main())
