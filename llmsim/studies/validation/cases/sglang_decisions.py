"""Every decision of SGLang 0.5.23's own scheduler on random workloads in virtual time, taken by our engine too."""

from __future__ import annotations

from pathlib import Path

from llmsim.studies.validation.case_report import Point, Report
from llmsim.studies.validation.decision_report import checks, compare_all, mean_ttft_s, notes, rows
from llmsim.studies.validation.run_case import Progress
from llmsim.studies.validation.sglang_replay import Agreement, compare_run
from llmsim.studies.validation.sglang_runs import read_run

FOLDER = "peers/sglang"
ABOUT = (
    "Random workloads that SGLang 0.5.23's unmodified scheduler, radix cache and pools were driven with in virtual "
    "time, without the overlap schedule and with it; our engine with the same settings and step times. Compared are "
    "every step without it (start, end, prefill, decode, retracted, admitted with cached tokens, KV tokens held and "
    "cached, queue, running batch, chunk under way, batch_is_full, new_token_ratio, finished), every batch with it "
    "(formed, start, end, prompt tokens, decoding, retracted), and what became of every request in both, to the tick. "
    "Nothing is fitted."
)


#: parts of an agreement -> what a difference there is called; column -> part that it counts
CHECKED = {
    "steps": "workloads with a step that differs",
    "outcome": "workloads with a request that fares otherwise",
    "overlap_batches": "workloads with a batch that differs, overlapped",
    "overlap_outcome": "with a request that fares otherwise, overlapped",
}
SAME = {
    "same_steps": "steps",
    "same_outcome": "outcome",
    "same_batches_overlapped": "overlap_batches",
    "same_outcome_overlapped": "overlap_outcome",
}


def compare(data_dir: Path, progress: Progress) -> Report:
    """Replay all workloads of `data_dir`/peers/sglang."""
    agreements = compare_all(data_dir / FOLDER, lambda file: compare_run(read_run(file)), progress)
    return Report(
        case="sglang-decisions",
        about=ABOUT,
        points=tuple(_point(agreement) for agreement in agreements),
        checks=checks(agreements, CHECKED),
        rows=rows(agreements, "sglang", SAME),
        notes=notes(agreements),
    )


def _point(agreement: Agreement) -> Point:
    run = agreement.run
    theirs_s, ours_s = (mean_ttft_s(run, fates) for fates in (run.overlap_outcome, agreement.ours))
    return Point(run.kind, f"{run.name}, mean TTFT, overlapped", "s", theirs_s, ours_s)
