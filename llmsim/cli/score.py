"""`llmsim score`: the metrics of a result, measured or simulated, under any SLO and reader; nothing is simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmsim.cli import choices as choose
from llmsim.cli.output import print_json
from llmsim.errors import InputError

if TYPE_CHECKING:
    from llmsim.cli.results import Opened
    from llmsim.interop.scored import FileSummary
    from llmsim.metrics.score import Score

#: up to this many requests, each gets a row
FEW_REQUESTS = 20


def score(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RESULT]…",
            help="Folders of llmsim run, files of benchmarks (vLLM, SGLang, AIPerf, GuideLLM, "
            "inference-perf, GenAI-Perf, trtllm-bench, llmperf, LLMServingSim), timelines.",
        ),
    ] = None,
    timelines: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON list of {arrival_s, token_times_s, …}.")
    ] = None,
    ttft_s: choose.TtftS = None,
    tbt_s: choose.TbtS = None,
    tpot_s: choose.TpotS = None,
    e2e_s: choose.E2eS = None,
    tokens_per_s: choose.TokensPerS = None,
    alpha: choose.Alpha = None,
    anchor: choose.Anchor = None,
    offset_s: choose.OffsetS = None,
    index_base: choose.IndexBase = None,
    penalty: choose.Penalty = None,
    window: choose.WindowText = None,
    run: choose.RunOfFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON, nothing else.")] = False,
) -> None:
    """Score results: latencies, attainment, goodput, smooth goodput; per request where there are few."""
    chosen = choose.Choices(
        slo={"ttft_s": ttft_s, "tbt_s": tbt_s, "tpot_s": tpot_s, "e2e_s": e2e_s},
        user={
            "tokens_per_s": tokens_per_s,
            "alpha": alpha,
            "anchor": anchor,
            "offset_s": offset_s,
            "index_base": index_base,
            "penalty": penalty,
        },
        window=window,
    )
    from llmsim.cli.results import open_results

    asked = [(path, None) for path in results or []] + ([(timelines, "timelines")] if timelines else [])
    if not asked:
        raise InputError("nothing to score: give a result, or --timelines FILE")
    found = [_scored(one) for path, kind in asked for one in open_results(path, chosen, run, kind)]
    if as_json:
        shown = [one.to_dict() for one in found]
        print_json(shown[0] if len(shown) == 1 else {"results": shown})
        return
    from llmsim.reports.tables.file_summary_tables import show_file_summary
    from llmsim.reports.tables.run_tables import show_score

    for one in found:
        if isinstance(one.score, Mapping):
            show_score(one.name, one.score, one.per_request)
        else:
            show_file_summary(one.name, one.score)


@dataclass(frozen=True)
class _Scored:
    """The score of one result, and a row for each request where there are few."""

    name: str
    score: Score | FileSummary
    per_request: list[dict[str, Any]] | None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        rows = {} if self.per_request is None else {"per_request": self.per_request}
        return {"name": self.name, **self.score.to_dict(), **rows}


def _scored(opened: Opened) -> _Scored:
    if opened.timelines is None:
        return _Scored(opened.name, opened.summary(), None)
    from llmsim import experiment
    from llmsim.metrics.request_table import request_table
    from llmsim.metrics.slo import meets

    found = opened.score()
    if "verdict" in found:  # what its requests met is told, whatever it is worth, and marked
        found = experiment.reported(found, force=True)
    exact = opened.measured is None or not opened.measured.unknown
    if opened.timelines is None or not exact or len(opened.timelines) > FEW_REQUESTS:
        return _Scored(opened.name, found, None)
    rows: list[dict[str, Any]] = [dict(row) for row in request_table(opened.timelines, opened.user)]
    if opened.slo is not None:
        for row, good in zip(rows, meets(opened.timelines, opened.slo), strict=True):
            row["meets_slo"] = bool(good)
    return _Scored(opened.name, found, rows)
