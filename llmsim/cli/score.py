"""`llmsim score`: the metrics of a result, measured or simulated, under any SLO and reader; nothing is simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmsim.cli import shared_options as choose
from llmsim.cli.option_groups import with_group
from llmsim.cli.output import print_json
from llmsim.errors import InputError

Results = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[RESULT]…",
        help="Folders of llmsim run, files of benchmarks (vLLM, SGLang, AIPerf, GuideLLM, "
        "inference-perf, GenAI-Perf, trtllm-bench, llmperf, LLMServingSim), timelines.",
    ),
]


@with_group(choose.Judging)
def score(
    results: Results = None,
    timelines: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON list of {arrival_s, token_times_s, …}.")
    ] = None,
    judging: choose.Judging = choose.AS_IT_IS,
    forms: Annotated[bool, typer.Option("--all", help="By the rules of other papers, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON, nothing else.")] = False,
) -> None:
    """Score results: latencies, attainment, goodput, smooth goodput; per request where there are few."""
    from llmsim.library.opened import open_results, scored, show_scored

    asked = [(path, None) for path in results or []] + ([(timelines, "timelines")] if timelines else [])
    if not asked:
        raise InputError("nothing to score: give a result, or --timelines FILE")
    found = [
        scored(one, forms=forms)
        for path, kind in asked
        for one in open_results(path, judging.choices(), judging.run, kind)
    ]
    if as_json:
        shown = [one.to_dict() for one in found]
        print_json(shown[0] if len(shown) == 1 else {"results": shown})
        return
    for one in found:
        show_scored(one)
