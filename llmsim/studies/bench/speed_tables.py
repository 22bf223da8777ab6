"""What `llmsim bench` prints: JSON for machines, tables for people and for the README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich import box
from rich.table import Table

from llmsim.studies.bench.against import Versus
from llmsim.studies.bench.decision_times import DecisionTimes
from llmsim.studies.bench.peers import VersusPeer
from llmsim.studies.bench.shipped import Shipped
from llmsim.studies.bench.speed import Measurement, StretchSpeed
from llmsim.studies.bench.suites import Scale
from llmsim.studies.bench.trace_reading import Reading


@dataclass(frozen=True, eq=False)
class Speeds:
    """What `llmsim bench` has measured of workloads, of size, and of stretches."""

    measured: Mapping[str, Measurement]  #: workloads
    skipped: Mapping[str, str]  #: workloads that were not, and why
    scale: Scale | None
    stretches: Mapping[float, StretchSpeed]  #: by load
    timeouts_per_s: float  #: of SimPy alone

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what was not asked for is left out."""
        values = {
            "simpy_timeouts_per_s": self.timeouts_per_s,
            "workloads": speed_json(self.measured, self.timeouts_per_s),
        }
        extras = {
            "skipped": self.skipped,
            "scale": scale_json(self.scale) if self.scale else None,
            "stretches": stretches_json(self.stretches),
        }
        return values | {name: extra for name, extra in extras.items() if extra}

    def tables(self) -> Iterator[Table]:
        """The tables of what was asked for."""
        if self.measured or self.skipped:
            yield speed_table(self.measured, self.skipped, self.timeouts_per_s)
        if self.scale:
            yield scale_table(self.scale)
        if self.stretches:
            yield stretches_table(self.stretches)


def speed_json(measured: Mapping[str, Measurement], timeouts_per_s: float) -> dict[str, Any]:
    """The numbers of each workload; `per_timeout` is its requests_per_s / `timeouts_per_s`."""
    return {
        name: _numbers(each) | {"per_timeout": each.requests_per_s / timeouts_per_s} for name, each in measured.items()
    }


def _numbers(each: Measurement) -> dict[str, Any]:
    rates = ("requests_per_s", "steps_per_s", "tokens_per_s", "timeouts_per_request")
    fields = asdict(each) | {"simpy_timeouts_per_s": median(each.simpy_timeouts_per_s)}
    return {name: getattr(each, name) for name in rates} | fields


def scale_json(scale: Scale) -> dict[str, Any]:
    """The three sizes, and how the cost of a request grows."""
    runs = {name: _numbers(run) for name, run in scale.runs.items()}
    return {"runs": runs, "requests_ratio": scale.requests_ratio, "instances_ratio": scale.instances_ratio}


def stretches_json(compared: Mapping[float, StretchSpeed]) -> list[dict[str, Any]]:
    """One object for each load."""
    return [{"load": load, **asdict(each), "speedup": each.speedup} for load, each in compared.items()]


def reading_json(found: Mapping[str, Reading]) -> dict[str, Any]:
    """What each reading of a trace cost."""
    return {name: asdict(each) | {"rows_per_s": each.rows_per_s} for name, each in found.items()}


def reading_table(found: Mapping[str, Reading]) -> Table:
    """Show what each reading of a trace cost."""
    table = _table("azure.csv", "rows", "rows/s", "memory", "wall", "CPU")
    for name, each in found.items():
        cost = (f"{each.peak_bytes / 1e6:,.0f} MB", f"{each.wall_s:.2f} s", f"{each.cpu_s:.2f} s")
        table.add_row(name, f"{each.rows:,}", f"{each.rows_per_s:,.0f}", *cost)
    return table


def decisions_json(found: Sequence[DecisionTimes]) -> list[dict[str, Any]]:
    """Values for JSON."""
    return [asdict(each) for each in found]


def decisions_table(found: Sequence[DecisionTimes]) -> Table:
    """CPU time of decisions, by scheduler and by how many requests there are."""
    table = _table("scheduler", "requests", "decisions", "mean, ms", "P99, ms")
    for each in found:
        least, most = each.requests
        times = (f"{1e3 * seconds:.3f}" for seconds in (each.mean_s, each.p99_s))
        table.add_row(each.scheduler, f"{least} to {most - 1}", f"{each.decisions:,}", *times)
    return table


def against_json(found: Mapping[str, Versus]) -> dict[str, Any]:
    """Least CPU times of both versions by workload, all of them, and whether they did the same."""
    return {
        name: {"error": each.error}
        if each.error
        else {
            "ratio": each.ratio,
            "cpu_s": min(each.this.cpu_s),
            "other_cpu_s": min(each.other.cpu_s),
            "same_work": each.same_work,
            "cpu_s_of_runs": each.this.cpu_s,
            "other_cpu_s_of_runs": each.other.cpu_s,
        }
        for name, each in found.items()
    }


def against_table(found: Mapping[str, Versus], skipped: Mapping[str, str]) -> Table:
    """Show both versions by workload: requests per second of CPU time, and the ratio of times."""
    table = _table("workload", "requests", "requests/s", "other's", "time", "same work")
    notes = [f"{name}: {why}" for name, why in skipped.items()]
    for name, each in found.items():
        if each.error:
            table.add_row(name, *["–"] * 5)
            notes.append(f"{name}: {each.error}")
            continue
        requests, same = each.this.work.requests, "yes" if each.same_work else "NO"
        rates = (f"{each.other.work.requests / min(each.other.cpu_s):,.0f}", f"{each.ratio:.2f} x")
        table.add_row(name, f"{requests:,}", f"{requests / min(each.this.cpu_s):,.0f}", *rates, same)
    table.caption = "\n".join(notes) or None
    return table


def shipped_json(found: Mapping[str, Shipped]) -> dict[str, Any]:
    """What each shipped scenario cost, and how far from the fast path that is."""
    return {name: _numbers(each.run) | {"lazy": each.lazy, "share": each.share} for name, each in found.items()}


def shipped_table(found: Mapping[str, Shipped], skipped: Mapping[str, str]) -> Table:
    """Show shipped scenarios, the slowest first."""
    table = _table("scenario", "requests", "requests/s", "of fast path", "events", "wall")
    for name, each in sorted(found.items(), key=lambda item: item[1].share):
        requests, rate, share, *_, wall = _speed_cells(each.run, f"{100 * each.share:.0f} %")
        table.add_row(name, requests, rate, share, "none" if each.lazy else "steps", wall)
    table.caption = "\n".join(f"{name}: {why}" for name, why in skipped.items()) or None
    return table


def peers_json(found: Mapping[str, VersusPeer]) -> dict[str, Any]:
    """Requests per second of CPU time of both simulators by workload."""
    fields = ("requests", "requests_per_s", "peer_requests_per_s", "times_faster")
    return {name: {field: getattr(each, field) for field in fields} for name, each in found.items()}


def peers_table(found: Mapping[str, VersusPeer], without_trace: bool) -> Table:
    """Show both simulators by workload."""
    table = _table("workload", "requests", "llmsim", "AISimulate", "times faster")
    for name, each in found.items():
        rates = (f"{each.requests_per_s:,.0f}/s", f"{each.peer_requests_per_s:,.0f}/s", f"{each.times_faster:.1f}")
        table.add_row(name, f"{each.requests:,}", *rates)
    table.caption = "requests per second of CPU time" + ("; Mooncake's: with --trace FILE" if without_trace else "")
    return table


def speed_table(measured: Mapping[str, Measurement], skipped: Mapping[str, str], timeouts_per_s: float) -> Table:
    """Show rates and memory by workload."""
    table = _table("workload", "requests", "requests/s", "/timeout", "steps/s", "tokens/s", "memory", "wall")
    for name, each in measured.items():
        table.add_row(name, *_speed_cells(each, f"{each.requests_per_s / timeouts_per_s:.4f}"))
    for name in skipped:
        table.add_row(name, *["–"] * 7)
    if skipped:  # all for the same reason
        table.caption = f"{', '.join(skipped)}: {next(iter(skipped.values()))}"
    return table


def scale_table(scale: Scale) -> Table:
    """Show the three sizes, with the cost of a request against the first."""
    table = _table("azure-conv", "requests", "requests/s", "cost", "tokens/s", "memory", "wall")
    for (name, each), ratio in zip(scale.runs.items(), (1.0, scale.requests_ratio, scale.instances_ratio), strict=True):
        requests, rate, cost, _, *rest = _speed_cells(each, f"{ratio:.2f} x")
        table.add_row(name, requests, rate, cost, *rest)  # all of it in 80 columns
    return table


def stretches_table(compared: Mapping[float, StretchSpeed]) -> Table:
    """Show how much faster stretches are, by load."""
    table = _table("load", "steps", "steps/row", "stretches", "stepwise", "times faster", "same")
    for load, each in compared.items():
        table.add_row(
            f"{100 * load:.0f} %",
            f"{each.steps:,}",
            f"{each.steps / each.rows:.1f}",
            f"{each.stretches_s:.2f} s",
            f"{each.stepwise_s:.2f} s",
            f"{each.speedup:.1f}",
            "yes" if each.identical else "NO",
        )
    return table


def _speed_cells(each: Measurement, relative: str) -> list[str]:
    return [
        f"{each.requests:,}",
        f"{each.requests_per_s:,.0f}",
        relative,
        f"{each.steps_per_s / 1e6:.3f} M",
        f"{each.tokens_per_s / 1e6:.2f} M",
        f"{each.peak_bytes / 1e9:.2f} GB" if each.peak_bytes >= 1e9 else f"{each.peak_bytes / 1e6:.0f} MB",
        f"{each.wall_s:.{max(0, 3 - len(str(int(each.wall_s))))}f} s",  # three digits, or all before the point
    ]


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1), show_edge=False)
    for number, column in enumerate(columns):
        if number:  # numbers are never cut: where a terminal is narrow, names go over two lines
            table.add_column(column, justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    return table
