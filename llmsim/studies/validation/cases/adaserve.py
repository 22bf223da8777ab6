"""AdaServe on the workloads that its authors publish (arXiv 2501.12162): how much each policy attains, and their order.

Their engine ran Llama-3.1-70B with a draft model of 1 B parameters on four A100. Here it is the scenario
related/adaserve, with their requests in place of drawn ones.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from llmsim.errors import InputError
from llmsim.experiment.assembly import assemble
from llmsim.record import Record
from llmsim.scenario import load_scenario
from llmsim.slo import Slo
from llmsim.studies.validation.case_report import Check, Point, Report
from llmsim.studies.validation.ways_to_draft import FIXED, KINDS, OURS
from llmsim.workload.classes import Classes
from llmsim.workload.contract import Workload

FOLDER = "traces/adaserve"
#: files of 2.6, 3.4, 3.8 and 4.6 requests/s hold the same requests as those beside them
RATES_PER_S = (2.4, 3.2, 3.6, 4.2, 4.4, 4.8)
TOP = 3  #: rates, of the highest ones, at which the order is judged
LONE_TOKEN_S = 0.030  #: the authors' idle time per token, of which some bounds are multiples
#: their figure 14, bursts of up to 4 requests/s: percent of requests within their bound
BURSTS = "fig14_fluc_6m_peak4.0"
#: percentiles at which prompts of the bursts' file are compared with those of the same classes in another
TENTHS = (10, 50, 90)
#: what would make a fixed number of drafts worse: a slower drafter, or fewer accepted
WORSE: Mapping[str, Callable[[int], tuple[str, ...]]] = {
    "8 ms for each draft": lambda drafts: ("speculation.draft={step_s=0.008}",),
    "half accepted": lambda drafts: (f"speculation.acceptance_rates={[0.5**k for k in range(1, drafts + 1)]}",),
}
MEASURED = dict(zip(KINDS, (83.6, 51.6, 47.8, 38.4, 65.6, 52.6), strict=True))
LIMIT_PERCENT = 15.0

ABOUT = (
    "AdaServe's published workloads: their arrivals, prompts, outputs of 256 tokens and bounds on the mean time per "
    "token; Llama-3.1-70B on four A100, step times composed of operators. Assumed: 2.9 ms of host a step, so that a "
    "lone request has their 30 ms a token; 2.5 ms for each step of the draft model; drafts accepted with 0.7 each, "
    "evenly. AdaServe's budget of 192 tokens was chosen as the best of seven on the workload of 4.8 requests/s. "
    "Measured are the shares of their figure 14 alone; of figure 8 there is the order."
)


@dataclass(frozen=True)
class Served:
    """A workload under one way to draft."""

    attained: float  #: percent of the requests within their own bound
    by_bound: Mapping[str, float]  #: the same of the requests of each bound
    length: float  #: tokens that a step yields of a decoding request
    end_s: float  #: when the last one ended


def compare(data_dir: Path, progress: Callable[[int, int], None]) -> Report:
    """Serve each workload under each way to draft."""
    names = {rate: f"fig8_9_rps{rate}_ol256" for rate in RATES_PER_S}
    workloads = {name: read_workload(data_dir, name) for name in (*names.values(), BURSTS)}
    in_file, other = workloads[BURSTS], workloads[names[RATES_PER_S[-1]]]
    workloads[BURSTS] = bursts = in_tokens(in_file, other)
    runs = {(name, kind): (each, how) for name, each in workloads.items() for kind, how in KINDS.items()}
    for worse, of in WORSE.items():
        runs |= {(worse, kind): (bursts, (*KINDS[kind], *of(int(kind.split()[0])))) for kind in FIXED}
    found: dict[tuple[str, str], Served] = {}
    for key, (workload, how) in runs.items():
        found[key] = serve(workload, how)
        progress(len(found), len(runs))
    by_rate = [{kind: found[names[rate], kind] for kind in KINDS} for rate in RATES_PER_S]
    points = tuple(
        Point(kind, BURSTS, "%", measured, found[BURSTS, kind].attained) for kind, measured in MEASURED.items()
    )
    return Report(
        case="adaserve",
        about=ABOUT,
        points=points,
        checks=(*_order(by_rate), *(Check(f"{BURSTS}: {p.group}", p.error_percent, LIMIT_PERCENT) for p in points)),
        rows=tuple(
            {"workload": name, "drafting": kind, "attained_percent": one.attained, "tokens_a_step": one.length}
            | {f"attained_percent_{bound}": share for bound, share in one.by_bound.items()}
            for (name, kind), one in found.items()
        ),
        notes=(_in_characters(in_file, other), *_fixed_numbers(found)),
    )


def in_tokens(workload: Workload, other: Workload) -> Workload:
    """The same with prompts as long, of each class, as they are on average in another workload with these classes."""
    prompts = workload.prompt_tokens.astype(np.float64)
    for _, mine, theirs in _prompts_of_classes(workload, other):
        prompts[mine] *= other.prompt_tokens[theirs].mean() / workload.prompt_tokens[mine].mean()
    return replace(workload, prompt_tokens=np.maximum(1, np.rint(prompts)).astype(np.int64))


def _prompts_of_classes(workload: Workload, other: Workload) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Of each class: its name, and which requests of both workloads are of it."""
    mine, theirs = workload.classes, other.classes
    assert mine is not None
    assert theirs is not None
    return [
        (name, mine.of_request == number, theirs.of_request == theirs.names.index(name))
        for number, name in enumerate(mine.names)
    ]


def _in_characters(workload: Workload, other: Workload) -> str:
    """How much longer the prompts of the bursts' file are than those of the same classes elsewhere."""
    told = []
    for name, mine, theirs in _prompts_of_classes(workload, other):
        both = [np.percentile(each, TENTHS) for each in (workload.prompt_tokens[mine], other.prompt_tokens[theirs])]
        told.append(f"{name.replace('_', ' ')} " + ", ".join(f"{ratio:.1f}" for ratio in both[0] / both[1]))
    return (
        f"Prompts in the bursts' file are longer than those of the same classes in {other.source}, times as long at "
        f"percentiles {', '.join(map(str, TENTHS))}: {'; '.join(told)}. So many characters a token has, in code fewer: "
        "the file counts characters, it seems, and its prompts are divided by the ratios of the means."
    )


def _fixed_numbers(found: dict[tuple[str, str], Served]) -> list[str]:
    """By how much fixed numbers are better than measured, and what would make them worse."""

    def told(name: str) -> str:
        return ", ".join(f"{found[name, kind].attained:.1f}" for kind in FIXED)

    measured = ", ".join(f"{MEASURED[kind]}" for kind in FIXED)
    return [
        f"4, 6 and 8 drafts attain {told(BURSTS)} % in the bursts here, {measured} measured, where they are worse than "
        f"no drafts. With {'; with '.join(f'{worse} {told(worse)}' for worse in WORSE)}. What drafting with a "
        "model of its own cost their vLLM 0.8.4 is not published."
    ]


def _order(by_rate: list[dict[str, Served]]) -> list[Check]:
    """The paper's findings, each as what it is missed by: 0 where it holds."""
    ours = [found[OURS] for found in by_rate]
    fixed = [max(found[kind].attained for kind in FIXED) for found in by_rate]
    plain = [max(found[kind].attained for kind in found if kind != OURS and kind not in FIXED) for found in by_rate]
    lead = [one.attained - best for one, best in zip(ours, fixed, strict=True)]
    checks = []
    for at in range(-TOP, 0):
        rate = f"at {RATES_PER_S[at]:g}/s"
        checks.append(Check(f"{rate}: best fixed number above AdaServe", max(0.0, -lead[at]), 0.0, "points"))
        checks.append(Check(f"{rate}: no drafts above it", max(0.0, plain[at] - fixed[at]), 0.0, "points"))
    falls = max(earlier - later for earlier, later in pairwise(lead))
    rises = max(later.length - earlier.length for earlier, later in pairwise(ours))
    checks.append(Check("AdaServe's lead falls from one rate to the next by", max(0.0, falls), 1.0, "points"))
    checks.append(Check("AdaServe's tokens a step rise by", max(0.0, rises), 0.0, "tokens"))
    return checks


def serve(workload: Workload, changes: tuple[str, ...]) -> Served:
    """Serve requests on the scenario with these changes."""
    record = assemble(load_scenario("related/adaserve", list(changes)), workload=workload).simulate()
    within = _within_bounds(record, workload)
    classes = workload.classes
    assert classes is not None
    by_bound = {name: 100 * float(within[classes.of_request == i].mean()) for i, name in enumerate(classes.names)}
    steps = record.steps["steps"] * record.steps["decoding"]
    tokens = record.segments["tokens" if "tokens" in record.segments else "steps"].sum()
    return Served(100 * float(within.mean()), by_bound, float(tokens / steps.sum()), record.end_s)


def _within_bounds(record: Record, workload: Workload) -> np.ndarray:
    """Whether each request has its tokens within its bound on the mean time per token, (requests,)."""
    classes, requests = workload.classes, record.requests
    assert classes is not None
    bound_s = np.array([slo.tpot_s for slo in classes.slos])[classes.of_request]
    took_s = requests["end_s"] - requests["first_token_s"]
    return np.asarray(took_s <= bound_s * (requests["output_tokens"] - 1) * (1 + 1e-9))


def read_workload(data_dir: Path, name: str) -> Workload:
    """Read one of the workloads. InputError where it is missing."""
    path = data_dir / FOLDER / f"{name}.csv.gz"
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a workload of AdaServe's artifact")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    bounds_s = [LONE_TOKEN_S * ratio if ratio > 0 else -ratio / 1000 for ratio in (float(r["slo_ratio"]) for r in rows)]
    kinds = sorted(set(bounds_s))
    classes = Classes(
        np.array([kinds.index(bound_s) for bound_s in bounds_s]),
        tuple(f"{1000 * bound_s:.0f}_ms" for bound_s in kinds),
        (0,) * len(kinds),
        slos=tuple(Slo(tpot_s=bound_s) for bound_s in kinds),
    )
    columns = (np.array([float(row[key]) for row in rows]) for key in ("arrival_s", "prompt_tokens", "output_tokens"))
    arrival_s, prompts, outputs = columns
    return Workload(arrival_s, prompts.astype(np.int64), outputs.astype(np.int64), name, classes=classes)
