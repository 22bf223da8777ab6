"""A measured run of any engine, request by request, and the same requests served by a scenario."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.experiment.assembly import assemble
from llmsim.interop.format import choose, read_runs
from llmsim.interop.measured import MeasuredResult
from llmsim.latency.hardware import HostTimes
from llmsim.metrics import request_latency
from llmsim.reading import read_text
from llmsim.record import Timelines
from llmsim.request import Outcome
from llmsim.scenario import ClientsTable, HostTable, PatienceTable, RetriesTable, Scenario, SyntheticWorkload
from llmsim.studies.validation.replay import Floats, Latencies
from llmsim.studies.validation.sends import NOTHING_ASSUMED, Assumed, Sends, looks_closed, sends_of
from llmsim.workload.contract import Workload

#: what a scenario says of those whose requests were measured, and of when they stopped: taken from the file instead
OTHER_CLIENTS = {
    "workload": SyntheticWorkload(),
    "patience": PatienceTable(),
    "retries": RetriesTable(),
    "until_s": None,
}
COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens", "ttft_s", "e2e_s")


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """What clients asked, when they sent it, and what they waited for; requests in order of sending."""

    name: str
    workload: Workload  #: its arrivals are when requests are ready to be sent
    latencies: Latencies
    left_out: int  #: requests without an answer, which nothing can serve again
    sent_s: Floats | None = None  #: (requests,) when each was sent; None: not known
    max_in_flight: int | None = None  #: that clients have under way
    said: str = "sent again at the same times"
    notes: tuple[str, ...] = ()

    def in_flight(self) -> Floats:
        """How many requests were under way when each was sent, itself included; (requests,)."""
        if self.sent_s is None:  # each of a closed loop finds all others there
            return np.full(len(self.workload), float(self.max_in_flight or len(self.workload)))
        return _in_flight(self.sent_s, self.latencies.e2e_s)


def _in_flight(sent_s: Floats, e2e_s: Floats) -> Floats:
    ends_s = np.sort(sent_s + e2e_s)
    return np.arange(1.0, len(sent_s) + 1) - np.searchsorted(ends_s, sent_s, side="right")


def asked_runs(
    path: Path, run: int | None = None, assumed: Assumed = NOTHING_ASSUMED, *, several: bool = False
) -> list[MeasuredRun]:
    """Read a benchmark's file, timelines, or a CSV with `COLUMNS` (seconds): run number `run`, or all if `several`.

    InputError names the file and what is missing: send times, lengths, every answer, or which of several runs.
    """
    if path.suffix == ".csv" and (columns := _from_csv(path)) is not None:
        return [_made(path.name, path, columns, Sends(columns["arrival_s"]), dated=True)]
    runs = read_runs(path)
    if len(runs) > 1 and run is None and not several:
        raise InputError(f"{path}: holds {len(runs)} runs; say which: --run 1 to --run {len(runs)}, or --run all")
    chosen = runs if several else [choose(path, runs, run)]
    return [_of_measured(path, one, assumed) for one in chosen]


def read_run(path: Path, run: int | None = None, assumed: Assumed = NOTHING_ASSUMED) -> MeasuredRun:
    """Read one run; otherwise as `asked_runs`."""
    return asked_runs(path, run, assumed)[0]


def _of_measured(path: Path, measured: MeasuredResult, assumed: Assumed) -> MeasuredRun:
    times = measured.requests(path, "a comparison")
    if not times.prompt_tokens.all():
        raise InputError(f"{path}: {measured.source}: no prompt lengths, without which nothing can be sent again")
    name = path.name if measured.runs == 1 else f"{path.name}, run {measured.run}"
    run = _made(name, path, _columns(times), sends_of(path, measured, assumed), dated=measured.dated)
    duration_s = measured.window.duration_s
    if duration_s is not None and math.isfinite(duration_s):  # what the benchmark itself divides by
        rate = float(np.sum(times.outcome == Outcome.FINISHED)) / duration_s
        run = replace(run, latencies=replace(run.latencies, requests_per_s=rate))
    return replace(run, notes=(*run.notes, *measured.notes))


def _made(name: str, path: Path, columns: dict[str, Floats], sends: Sends, *, dated: bool) -> MeasuredRun:
    answered = np.isfinite(columns["e2e_s"]) & np.isfinite(columns["ttft_s"]) & (columns["output_tokens"] >= 1)
    if not answered.any():
        raise InputError(f"{path}: no request has an answer")
    order = np.lexsort((columns["arrival_s"], sends.arrival_s))
    order = order[answered[order]]
    kept = {key: column[order] for key, column in columns.items()}
    prompts, outputs = (kept[key].astype(np.int64) for key in ("prompt_tokens", "output_tokens"))
    ready_s = sends.arrival_s[order]
    workload = Workload(ready_s - ready_s[0], prompts, outputs, str(path))
    sent_s = kept["arrival_s"] if dated else None
    latencies = Latencies.of(kept["ttft_s"], kept["e2e_s"], outputs)
    if sent_s is not None:
        latencies = _with_rate(latencies, sent_s)
    warning = sends.warning
    if sent_s is not None and sends.max_in_flight is None and not warning:
        warning = looks_closed(sent_s, kept["e2e_s"])
    notes = (warning,) if warning else ()
    return MeasuredRun(
        name, workload, latencies, int(np.sum(~answered)), sent_s, sends.max_in_flight, sends.said, notes
    )


def predict(run: MeasuredRun, scenario: Scenario, host: HostTimes | None = None) -> Latencies:
    """Serve the requests of a run as a scenario says (not its workload, clients and users), or with other host times.

    Latencies count from sending. Requests that it does not finish have NaN.
    """
    clients = ClientsTable(measure_from="sent", max_in_flight=run.max_in_flight)
    update: dict[str, object] = {**OTHER_CLIENTS, "clients": clients}
    if host is not None:
        update["host"] = HostTable(**host.model_dump())
    scenario = scenario.model_copy(update=update)
    record = assemble(scenario, workload=run.workload).simulate()
    delivered = experiment.delivered(scenario, record)
    seen = Latencies.of(request_latency.ttft_s(delivered), request_latency.e2e_s(delivered), run.workload.output_tokens)
    if not np.isfinite(seen.e2e_s).any():
        raise InputError(f"{run.name}: the scenario finishes none of its requests: {_why(record.reasons)}")
    return _with_rate(seen, delivered.arrival_s)


def _why(reasons: tuple[str, ...]) -> str:
    return next((reason for reason in reasons if reason), "all were given up")


def _with_rate(seen: Latencies, sent_s: Floats) -> Latencies:
    done = np.isfinite(seen.e2e_s)
    span_s = np.max((sent_s + seen.e2e_s)[done]) - sent_s.min()
    return replace(seen, requests_per_s=float(done.sum() / span_s))


def _columns(times: Timelines) -> dict[str, Floats]:
    finished = times.outcome == Outcome.FINISHED
    columns = {
        "arrival_s": times.arrival_s,
        "prompt_tokens": times.prompt_tokens,
        "output_tokens": times.output_tokens,
        "ttft_s": request_latency.ttft_s(times),
        "e2e_s": np.where(finished, request_latency.e2e_s(times), np.nan),
    }
    return {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}


def _from_csv(path: Path) -> dict[str, Floats] | None:
    """The columns; None where the table has none of them, and so is a tool's."""
    try:
        table = pd.read_csv(io.StringIO(read_text(path)))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: not a CSV table ({str(error).splitlines()[0]})") from None
    lacking = [name for name in COLUMNS if name not in table]
    if len(lacking) == len(COLUMNS):
        return None
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}; expected {', '.join(COLUMNS)}")
    columns = {}
    for name in COLUMNS:
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)
        optional = name in ("ttft_s", "e2e_s")  # empty: no answer
        wrong = (table[name].notna() & np.isnan(values)) if optional else ~np.isfinite(values)
        least = 1 if name.endswith("_tokens") else 0
        wrong = np.asarray(wrong) | (values < least)
        if wrong.any():
            line = int(np.argmax(wrong)) + 2
            raise InputError(
                f"{path}, line {line}: {name} = {table[name].iloc[line - 2]}, expected a number of at least {least}"
            )
        columns[name] = values
    return columns
