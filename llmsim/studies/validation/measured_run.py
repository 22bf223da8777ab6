"""A measured run of anybody's engine, request by request, and the same requests served by a scenario."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.experiment import assemble
from llmsim.interop.detect import read_measured
from llmsim.latency.hardware import HostTimes
from llmsim.metrics import request_latency
from llmsim.request import Outcome
from llmsim.scenario import ClientsTable, HostTable, PatienceTable, RetriesTable, Scenario, SyntheticWorkload
from llmsim.studies.validation.replay import Floats, Latencies
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
    workload: Workload
    latencies: Latencies
    left_out: int  #: requests without an answer, which nobody can serve again

    def in_flight(self) -> Floats:
        """How many requests were under way when each was sent, itself included; (requests,)."""
        sent_s = self.workload.arrival_s
        ends_s = np.sort(sent_s + self.latencies.e2e_s)
        return np.arange(1.0, len(sent_s) + 1) - np.searchsorted(ends_s, sent_s, side="right")


def read_run(path: Path) -> MeasuredRun:
    """Read a result of vLLM's benchmark, timelines, or a CSV with the columns `COLUMNS`; times in seconds.

    InputError names the file and what is missing: send times, lengths, or every answer.
    """
    columns = _from_csv(path) if path.suffix == ".csv" else _from_timelines(path)
    answered = np.isfinite(columns["e2e_s"]) & np.isfinite(columns["ttft_s"]) & (columns["output_tokens"] >= 1)
    if not answered.any():
        raise InputError(f"{path}: no request has an answer")
    order = np.argsort(columns["arrival_s"], kind="stable")
    order = order[answered[order]]
    kept = {name: column[order] for name, column in columns.items()}
    prompts, outputs = (kept[name].astype(np.int64) for name in ("prompt_tokens", "output_tokens"))
    workload = Workload(kept["arrival_s"] - kept["arrival_s"][0], prompts, outputs, str(path))
    seen = _with_rate(Latencies.of(kept["ttft_s"], kept["e2e_s"], outputs), workload)
    return MeasuredRun(path.name, workload, seen, int(np.sum(~answered)))


def predict(run: MeasuredRun, scenario: Scenario, host: HostTimes | None = None) -> Latencies:
    """Serve the requests of a run as a scenario says (not its workload, clients and users), or with other host times.

    Latencies count from sending. Requests that it does not finish have NaN.
    """
    update: dict[str, object] = {**OTHER_CLIENTS, "clients": ClientsTable(measure_from="sent")}
    if host is not None:
        update["host"] = HostTable(**host.model_dump())
    scenario = scenario.model_copy(update=update)
    record = assemble(scenario, workload=run.workload).simulate()
    delivered = experiment.delivered(scenario, record)
    seen = Latencies.of(request_latency.ttft_s(delivered), request_latency.e2e_s(delivered), run.workload.output_tokens)
    if not np.isfinite(seen.e2e_s).any():
        raise InputError(f"{run.name}: the scenario finishes none of its requests: {_why(record.reasons)}")
    return _with_rate(seen, run.workload)


def _why(reasons: tuple[str, ...]) -> str:
    return next((reason for reason in reasons if reason), "all were given up")


def _with_rate(seen: Latencies, workload: Workload) -> Latencies:
    done = np.isfinite(seen.e2e_s)
    span_s = np.max((workload.arrival_s + seen.e2e_s)[done]) - workload.arrival_s[0]
    return replace(seen, requests_per_s=float(done.sum() / span_s))


def _from_timelines(path: Path) -> dict[str, Floats]:
    times = read_measured(path).timelines
    if len(times) > 1 and not times.arrival_s.any():
        raise InputError(f"{path}: no send times; vLLM's benchmark saves start_times with --save-detailed")
    if not times.prompt_tokens.all():
        raise InputError(f"{path}: no prompt lengths; expected input_lens (vLLM) or prompt_tokens (timelines)")
    finished = times.outcome == Outcome.FINISHED
    columns = {
        "arrival_s": times.arrival_s,
        "prompt_tokens": times.prompt_tokens,
        "output_tokens": times.output_tokens,
        "ttft_s": request_latency.ttft_s(times),
        "e2e_s": np.where(finished, request_latency.e2e_s(times), np.nan),
    }
    return {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}


def _from_csv(path: Path) -> dict[str, Floats]:
    try:
        table = pd.read_csv(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: not a CSV table ({str(error).splitlines()[0]})") from None
    lacking = [name for name in COLUMNS if name not in table]
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
