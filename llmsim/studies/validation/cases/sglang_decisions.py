"""Every decision of SGLang 0.5.23's own scheduler on random workloads in virtual time, taken by our engine too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmsim.errors import InputError
from llmsim.studies.validation.case_report import Check, Point, Report
from llmsim.studies.validation.decision_runs import TICK_S, Fate
from llmsim.studies.validation.run_case import Progress
from llmsim.studies.validation.sglang_replay import Agreement, compare_run
from llmsim.studies.validation.sglang_runs import read_run

FOLDER = "peers/sglang"
NAMED_DIFFERENCES = 8  #: workloads whose first difference is told
ABOUT = (
    "Random workloads that SGLang 0.5.23's unmodified scheduler, radix cache and pools were driven with in virtual "
    "time, without the overlap schedule and with it; our engine with the same settings and step times. Compared are "
    "every step without it (start, end, prefill, decode, retracted, admitted with cached tokens, KV tokens held and "
    "cached, queue, running batch, chunk under way, batch_is_full, new_token_ratio, finished), every batch with it "
    "(formed, start, end, prompt tokens, decoding, retracted), and what became of every request in both, to the tick. "
    "Nothing is fitted."
)


def compare(data_dir: Path, progress: Progress) -> Report:
    """Replay all workloads of `data_dir`/peers/sglang."""
    files = sorted((data_dir / FOLDER).glob("*.json"))
    if not files:
        raise InputError(f"{data_dir / FOLDER}: no workloads (*.json), expected some")
    agreements = []
    for done, file in enumerate(files):
        progress(done, len(files))
        agreements.append(compare_run(read_run(file)))
    progress(len(files), len(files))
    return Report(
        case="sglang-decisions",
        about=ABOUT,
        points=tuple(_point(agreement) for agreement in agreements),
        checks=(
            _check("workloads with a step that differs", [agreement.steps for agreement in agreements]),
            _check("workloads with a request that fares otherwise", [agreement.outcome for agreement in agreements]),
            _check("workloads with a batch that differs, overlapped", [each.overlap_batches for each in agreements]),
            _check("with a request that fares otherwise, overlapped", [each.overlap_outcome for each in agreements]),
        ),
        rows=tuple(_rows(agreements)),
        notes=tuple(_notes(agreements)),
    )


def _check(name: str, differences: Sequence[object]) -> Check:
    return Check(name, sum(difference is not None for difference in differences), 0, "workloads")


def _rows(agreements: Sequence[Agreement]) -> list[dict[str, Any]]:
    kinds = list(dict.fromkeys(agreement.run.kind for agreement in agreements))
    rows = [_row(kind, [each for each in agreements if each.run.kind == kind]) for kind in kinds]
    return [*rows, _row("all", list(agreements))]


def _row(kind: str, agreements: Sequence[Agreement]) -> dict[str, Any]:
    return {
        "workloads_of": kind,
        "workloads": len(agreements),
        "steps_of_sglang": sum(len(agreement.run.steps) for agreement in agreements),
        "same_steps": sum(agreement.steps is None for agreement in agreements),
        "same_outcome": sum(agreement.outcome is None for agreement in agreements),
        "same_batches_overlapped": sum(agreement.overlap_batches is None for agreement in agreements),
        "same_outcome_overlapped": sum(agreement.overlap_outcome is None for agreement in agreements),
    }


def _point(agreement: Agreement) -> Point:
    run = agreement.run
    theirs_s, ours_s = (_ttft_s(agreement, fates) for fates in (run.overlap_outcome, agreement.ours))
    return Point(run.kind, f"{run.name}, mean TTFT, overlapped", "s", theirs_s, ours_s)


def _ttft_s(agreement: Agreement, fates: Sequence[Fate]) -> float:
    first_s = np.array([fate.first_token for fate in fates]) * TICK_S
    return float(np.mean(first_s - agreement.run.workload.arrival_s))


def _notes(agreements: Sequence[Agreement]) -> list[str]:
    apart = [agreement for agreement in agreements if agreement.first is not None]
    notes = [f"{agreement.run.name}, {agreement.first}" for agreement in apart[:NAMED_DIFFERENCES]]
    return (
        notes
        if len(apart) <= NAMED_DIFFERENCES
        else [*notes, f"{len(apart) - NAMED_DIFFERENCES} more workloads differ"]
    )
