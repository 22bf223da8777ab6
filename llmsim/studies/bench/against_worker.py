"""Runs workloads of `llmsim bench` for `against.py`, in whichever version of llmsim its interpreter finds.

Its text is run by that interpreter, so it uses nothing of this version. Arguments: a folder to import llmsim from
(empty: as installed), requests of each run (empty: as many as usual), a trace (empty: none). For each line read, the
name of a workload, it prints a line of JSON: what one run cost and did, or why there is none.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

#: where versions have them: what gives workloads by name, and what measures one
PLACES = (
    ("llmsim.studies.bench.suites", "llmsim.studies.bench.speed"),
    ("llmsim.bench.suites", "llmsim.bench.measure"),
)


def serve(folder: str, requests: str, trace: str) -> None:
    """Answer each line of stdin."""
    if folder:
        sys.path.insert(0, folder)
    suites, speed = _modules()
    time.perf_counter = time.process_time  # what is measured: CPU time, whatever else the machine does
    speed.timeouts_per_s = lambda: 1.0  # the yardstick is the other version, not SimPy
    scenarios: dict[str, Any] = {}
    for line in sys.stdin:
        name = line.strip()
        try:
            if name not in scenarios:
                found, _ = suites.scenarios(
                    suites.known([name]),
                    Path(trace) if trace and name.startswith("mooncake") else None,
                    int(requests) if requests else None,
                    skip=False,
                )
                scenarios[name] = found[name]
            run = speed.measure(scenarios[name], progress=lambda *_: None)
            answer = {"cpu_s": run.wall_s, "requests": run.requests, "steps": run.steps, "tokens": run.tokens}
        except Exception as error:  # whatever another version raises is an answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def _modules() -> tuple[Any, Any]:
    for suites, speed in PLACES:
        try:
            return import_module(suites), import_module(speed)
        except ModuleNotFoundError:
            pass
    raise SystemExit("there is no llmsim with a bench")


if __name__ == "__main__":
    serve(*sys.argv[1:])
