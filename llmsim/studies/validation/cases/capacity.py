"""Do the intervals that plans state hold measured capacities? Loads at which measured latencies cross a bound.

A plan says of a largest load how far an error of the step times moves it (`llmsim.latency.residuals`: ML.ENERGY's runs,
none of which is here). All steps f times as long is all of time f times as long: of open loads the latency at rate r is
f times that at f r, of a closed loop f times that of as many clients. So the curve that is predicted gives the crossing
for each factor, and its 90 % interval, without another run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmsim.latency import hardware
from llmsim.latency.residuals import COMPOSED, FULL_BATCH, RESIDUALS, Kind
from llmsim.record import Floats
from llmsim.studies.validation.case_report import Check, Point, Report, Row
from llmsim.studies.validation.cases import closed_loop, kubecon, vllm_0151
from llmsim.studies.validation.kubecon_runs import Stage, read_stages
from llmsim.studies.validation.load_stages import read_stages as read_0151
from llmsim.studies.validation.silicon_contradictions import contradictory
from llmsim.studies.validation.silicon_runs import Run, read_runs

#: probability beyond either end of a stated interval, and how far below its promise the share that hold may lie
TAIL, LEVEL, SHORT_BY = 0.05, 90.0, 5.0
#: loads of a curve, at the least, and the most loads that are simulated of one
FEWEST, MOST = 3, 6
HOSTS = {"kubecon": "vllm-0.11.0-h100", "vllm-0151": "vllm-0.15.1"}

ABOUT = (
    "Loads at which measured latencies cross a bound half-way (geometrically) between two neighbouring measured loads, "
    "the middle ones of each curve, and saturated throughputs: mean TPOT against clients (aiconfigurator's closed "
    "loops), mean E2E against rate and throughput (KubeCon, vLLM 0.11), mean TPOT against rate (vLLM 0.15.1). Covered: "
    "how many lie in the 90 % interval that a plan states from the error of its kind of step times. Hosts as shipped; "
    "nothing is fitted here, but the hosts were on some of the slow stages of KubeCon and on vLLM 0.15.1's H100."
)


@dataclass(frozen=True, eq=False)
class Curve:
    """A latency against the load, measured and predicted at the same loads, ascending, (loads,)."""

    group: str
    label: str
    kind: Kind
    closed: bool
    loads: Floats
    measured_s: Floats
    predicted_s: Floats

    @property
    def bound_s(self) -> float:
        """Half-way between the latencies at the two loads in the middle."""
        i = len(self.loads) // 2
        return float(np.sqrt(self.measured_s[i - 1] * self.measured_s[i]))

    @property
    def crossing(self) -> float:
        """The load at which what was measured crosses the bound."""
        i = len(self.loads) // 2
        return float(np.sqrt(self.loads[i - 1] * self.loads[i]))

    def predicted(self, factor: float = 1.0) -> float:
        """The load at which what is predicted crosses it, with steps so many times as long; 0 or inf: outside."""
        rising = np.maximum.accumulate(self.predicted_s)
        bound_s = self.bound_s / factor
        if bound_s < rising[0]:
            return 0.0
        if bound_s > rising[-1]:
            return np.inf
        load = float(np.exp(np.interp(np.log(bound_s), np.log(rising), np.log(self.loads))))
        return load if self.closed else load / factor


@dataclass(frozen=True, slots=True)
class Held:
    """A capacity that was measured, and the interval that a plan would state."""

    group: str
    label: str
    unit: str
    measured: float
    predicted: float
    low: float
    high: float

    @property
    def covered(self) -> bool:
        """Whether the interval holds it."""
        return self.low <= self.measured <= self.high


def held(curve: Curve) -> Held:
    """The crossing of a curve, and its interval by the quantiles of the error of its kind of step times."""
    slow, fast = (float(np.exp(RESIDUALS[curve.kind].quantile(q))) for q in (1 - TAIL, TAIL))
    unit = "clients" if curve.closed else "requests/s"
    ends = curve.predicted(slow), curve.predicted(fast)
    return Held(curve.group, curve.label, unit, curve.crossing, curve.predicted(), *ends)


def compare(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Take every curve, and count."""
    found: list[Held] = []
    parts = (_closed_loops, _kubecon, _vllm_0151)
    for done, part in enumerate(parts, start=1):
        found += part(data_dir)
        progress(done, len(parts))
    share = 100 * float(np.mean([one.covered for one in found]))
    return Report(
        case="capacity",
        about=ABOUT,
        points=tuple(
            Point(one.group, one.label, one.unit, one.measured, one.predicted) for one in found if _inside(one)
        ),
        checks=(
            Check(f"{len(found)} intervals of {LEVEL:g} %: how many fewer hold", max(0.0, LEVEL - share), SHORT_BY),
        ),
        rows=tuple(_rows(found)),
        notes=(
            "DistServe's runs rest on published coefficients, whose error was not measured: a plan states no interval "
            "for them but that of its seeds.",
        ),
    )


def _inside(one: Held) -> bool:
    return bool(0 < one.predicted < np.inf)


def _rows(found: Sequence[Held]) -> Iterator[Row]:
    """Each group, and all together."""
    groups = dict.fromkeys(one.group for one in found)
    for group, mine in (*((g, [one for one in found if one.group == g]) for g in groups), ("all", list(found))):
        inside = [one for one in mine if _inside(one)]
        wide = [one.high / one.low for one in mine if one.low > 0 and one.high < np.inf]
        yield {
            "group": group,
            "capacities": len(mine),
            "covered": float(np.mean([one.covered for one in mine])),
            "above_it": float(np.mean([one.measured > one.high for one in mine])),
            "below_it": float(np.mean([one.measured < one.low for one in mine])),
            "predicted_over_measured": float(np.median([one.predicted / one.measured for one in inside or mine])),
            "high_over_low": float(np.median(wide)) if wide else None,
            "open_ended": 1 - len(wide) / len(mine),
        }


def _closed_loops(data_dir: Path) -> list[Held]:
    """One curve for each GPU, engine, model and size: that of the lengths with the most numbers of clients."""
    step_times, host = closed_loop.StepTimes(data_dir), hardware.load_host(closed_loop.HOST)
    curves: dict[tuple[str, int], dict[tuple[int, int], list[Run]]] = {}
    everything = read_runs(data_dir)
    left_out = contradictory(everything)
    # plans state no error of step times of several ranks
    runs = [run for run in everything if run.group not in left_out and run.data_parallel_size == 1]
    for run in closed_loop.composed(runs, step_times)[0]:
        by_lengths = curves.setdefault((run.group, run.tensor_parallel_size), {})
        by_lengths.setdefault((run.output_tokens, run.prompt_tokens), []).append(run)
    longest = (max((_middle(by_lengths[key]) for key in sorted(by_lengths)), key=len) for by_lengths in curves.values())
    return [held(_closed(curve, step_times, host)) for curve in longest if len(curve) >= FEWEST]


def _middle(runs: list[Run]) -> list[Run]:
    """The runs around the middle of a curve, by clients; each number of clients once."""
    ordered = sorted({run.concurrency: run for run in runs}.values(), key=lambda run: run.concurrency)
    skip = max(0, (len(ordered) - MOST + 1) // 2)
    return ordered[skip : len(ordered) - skip]


def _closed(runs: list[Run], step_times: closed_loop.StepTimes, host: hardware.HostTimes) -> Curve:
    first, middle = runs[0], runs[len(runs) // 2]
    gpu, blocks = step_times.of(first)
    bare = closed_loop.hides_host(first)
    latency = gpu if bare else closed_loop.with_host(gpu, host)
    return Curve(
        first.group,
        f"TP{first.tensor_parallel_size} {first.prompt_tokens} + {first.output_tokens}",
        Kind(COMPOSED, host=not bare, full=middle.concurrency >= FULL_BATCH),
        closed=True,
        loads=np.array([run.concurrency for run in runs], dtype=np.float64),
        measured_s=np.array([run.tpot_s for run in runs]),
        predicted_s=np.array([closed_loop.served(run, latency, blocks).mean("tpot_s") for run in runs]),
    )


def _kubecon(data_dir: Path) -> list[Held]:
    engine, host, found = kubecon.Engine(), hardware.load_host(HOSTS["kubecon"]), []
    for run in kubecon.MAX_NUM_SEQS:
        stages = read_stages(data_dir, run)
        open_ones = [stage for stage in stages if not stage.saturated]
        seen = [engine.serve(stage, host) for stage in open_ones]
        kind = Kind(COMPOSED, host=True, full=True)
        rates, measured_s = ([getattr(s, name) for s in open_ones] for name in ("rate_per_s", "e2e_s"))
        predicted_s = [one.e2e_s for one in seen]
        columns = (np.array(rates), np.array(measured_s), np.array(predicted_s))
        found.append(held(Curve("KubeCon vllm 0.11.0", f"{run}: E2E", kind, False, *columns)))
        found.append(_saturated(max(stages, key=lambda stage: stage.rate_per_s), engine, host, kind))
    return found


def _saturated(stage: Stage, engine: kubecon.Engine, host: hardware.HostTimes, kind: Kind) -> Held:
    """Throughput at the highest rate; with steps f times as long it is that over f."""
    rate_per_s = engine.serve(stage, host).requests_per_s
    ends = (rate_per_s / float(np.exp(RESIDUALS[kind].quantile(q))) for q in (1 - TAIL, TAIL))
    return Held("KubeCon vllm 0.11.0", f"{stage.run}: saturated", "requests/s", stage.requests_per_s, rate_per_s, *ends)


def _vllm_0151(data_dir: Path) -> list[Held]:
    runs, found = read_0151(data_dir / vllm_0151.FILE, vllm_0151.COLUMNS), []
    host = hardware.load_host(HOSTS["vllm-0151"])
    column = vllm_0151.AGGREGATES.index("tpot_mean_s")
    for name, stages in runs.items():
        predicted_s = vllm_0151.served(stages, host)[:, column]
        measured_s = np.array([stage.measured["tpot_mean_s"] for stage in stages])
        rates = np.array([stage.rate_per_s for stage in stages])
        kind = Kind(COMPOSED, host=True, full=False)
        found.append(held(Curve("vLLM 0.15.1", f"{name}: TPOT", kind, False, rates, measured_s, predicted_s)))
    return found
