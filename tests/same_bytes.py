"""`python tests/same_bytes.py [PYTHON ...]`: do other Pythons, threads and processors' kernels give the same bytes?

Runs some scenarios in this Python, in the others, and in this one with one BLAS thread and with kernels for an older
processor; compares every data file. Parquet that another version of PyArrow wrote is compared by its values, to the
bit. Exit code 1 where anything differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXPECTED = ("3.11", "3.12", "3.13", "3.14")
SIZE = ("--set", "workload.requests=1500")
COMMANDS = (
    ("run", "quickstart", *SIZE),
    ("run", "speculation", *SIZE),
    (
        "sweep",
        "disaggregated",
        "--set",
        "workload.requests=300",
        "--axis",
        "workload.arrivals.rate_per_s=2.0,4.0",
        "--jobs",
        "1",
    ),
    ("compare", "sessions", "--set", "workload.requests=300", "--schedulers", "fcfs,chunked_prefill"),
)
#: how one Python may be asked for other roundings
OTHERWISE = (
    ("one BLAS thread", {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}),
    ("BLAS kernels of an older processor", {"OPENBLAS_CORETYPE": "Sandybridge"}),
)
SEALED, TIMED = ("seal.json",), ("wall_s", "sha256", "command")


def main(others: list[str]) -> int:
    """Run, compare, and print a line for each."""
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="llmsim-bytes-") as scratch:
        mine, here = _results(sys.executable, Path(scratch) / "here", {}), _version(sys.executable)
        asked = [(f"Python {here}, {words}", sys.executable, more) for words, more in OTHERWISE]
        asked += [(f"Python {_version(python)}", python, {}) for python in others]
        for number, (words, python, more) in enumerate(asked):
            found = _results(python, Path(scratch) / str(number), more)
            differing = [*_differing(mine, found)]
            wrong += bool(differing)
            print(f"{words}: {'; '.join(differing) or f'the same {len(mine)} files as Python {here}'}", flush=True)
    there = {here[:4], *(_version(python)[:4] for python in others)}
    for version in EXPECTED:
        if version not in there:
            print(f"Python {version}: NOT COMPARED, none was given")
    return 1 if wrong else 0


def _version(python: str) -> str:
    script = "import platform; print(platform.python_version())"
    return subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def _results(python: str, folder: Path, more: dict[str, str]) -> dict[str, bytes]:
    """Run every command; return the data files by name, without what tells how long it took."""
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | more
    for number, words in enumerate(COMMANDS):
        out = f"{number}-{words[0]}-{words[1]}"
        done = subprocess.run(
            [python, "-m", "llmsim", *words, "--out", out],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"{python}: llmsim {' '.join(words)}: {done.stderr.strip()[-500:]}")
    return {file.relative_to(folder).as_posix(): _untimed(file) for file in _data_files(folder)}


def _data_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".json", ".parquet") and file.name not in SEALED:
            yield file


def _untimed(file: Path) -> bytes:
    data = file.read_bytes()
    return data if file.suffix == ".parquet" else json.dumps(_without(json.loads(data))).encode()


def _without(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without(one) for key, one in value.items() if key not in TIMED}
    return [_without(one) for one in value] if isinstance(value, list) else value


def _differing(mine: dict[str, bytes], found: dict[str, bytes]) -> Iterator[str]:
    yield from (f"{name} is there on one side only" for name in sorted(mine.keys() ^ found.keys()))
    for name in sorted(mine.keys() & found.keys()):
        same = mine[name] == found[name]
        if not same and not (name.endswith(".parquet") and _values(mine[name]) == _values(found[name])):
            yield f"{name} differs"


def _values(data: bytes) -> bytes:
    """The values of a Parquet file as this version of PyArrow writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(data)).replace_schema_metadata(None).combine_chunks()
    whole = pa.BufferOutputStream()
    with pa.ipc.new_stream(whole, table.schema) as stream:
        stream.write_table(table)
    return bytes(whole.getvalue())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
