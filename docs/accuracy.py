"""The tables of docs/background/accuracy.md, and README's lines on accuracy, written anew from validations.

    python docs/accuracy.py --data DIR [--saved DIR] [CASE ...]

Each table stands between ``<!-- accuracy: NAME -->`` and ``<!-- end -->``. A case's report is read from SAVED/CASE.json
(`llmsim validate CASE --data DIR --json`), or made, which takes minutes; cases that are not named stay as they are.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs/background/accuracy.md")
BLOCK = re.compile(r"(<!-- accuracy: ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Report = Mapping[str, Any]  #: as JSON
Reports = Mapping[str, Report]  #: by case


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def percent(value: float, digits: int = 0) -> str:
    """With its sign: ``+3``, ``0``."""
    said = f"{value:+.{digits}f}"
    return said[1:] if float(said) == 0 else said


def met(report: Report) -> str:
    """How many targets are."""
    return f"{sum(check['passed'] for check in report['checks'])} of {len(report['checks'])}"


def by(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by what they have under a key, in order."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found


def seconds(report: Report, where: Callable[[str], bool], label: str) -> str:
    """Runs of measured requests: each mean as measured, as predicted, and the error."""
    rows = []
    for run, values in by([row for row in report["rows"] if where(row["where"])], "run").items():
        means = [f"{r['measured_s']:.3g}, {r['predicted_s']:.3g} ({percent(r['error_percent'])} %)" for r in values]
        rows.append([run.rpartition("-")[2], values[0]["where"], *means])
    metrics = [row["metric"] for row in values]
    return (
        table([label, "where", *(f"{metric}, s" for metric in metrics)], rows) + f"\n{met(report)} targets are met.\n"
    )


def distserve(reports: Reports) -> str:
    """DistServe's measurements of vLLM, rate by rate."""
    return seconds(reports["distserve"], lambda where: True, "requests/s")


def disaggregated(reports: Reports) -> str:
    """DistServe itself, below its knee."""
    return seconds(reports["distserve-disaggregated"], lambda where: where == "below the knee", "requests/s")


def kubecon(reports: Reports) -> str:
    """Stages that were not fitted: errors by rate, and of the throughput beyond saturation."""
    report = reports["kubecon"]
    rows = []
    for run, stages in by([{**row, "run": row["stage"].split(" ")[0]} for row in report["rows"]], "run").items():
        below = [row for row in stages if row["where"] == "unsaturated"]
        full = [row["error_percent"] for row in stages if row["where"] == "saturated" and row["metric"] == "throughput"]
        rates = dict.fromkeys(re.sub(r".* at |/s", "", row["stage"]) for row in below)
        errors = [
            ", ".join(percent(row["error_percent"]) for row in below if row["metric"] == metric)
            for metric in ("mean TTFT", "mean E2E")
        ]
        rows.append([f"`{run}`", ", ".join(rates), *errors, ", ".join(map(percent, full))])
    heads = ["run", "requests/s", "mean TTFT", "mean E2E", "throughput, saturated"]
    return table(heads, rows) + f"\n{met(report)} targets are met.\n"


VLLM_0151 = ("mean TTFT", "p99 TTFT", "mean TPOT", "mean E2E", "p99 E2E")


def vllm_0151(reports: Reports) -> str:
    """A GPU a row, errors of its stages."""
    report = reports["vllm-0151"]
    rows = []
    for gpu, values in by(
        [{**row, "gpu": row["stage"].split("-")[0].upper()} for row in report["rows"]], "gpu"
    ).items():
        rates = dict.fromkeys(re.sub(r".* at |/s", "", row["stage"]) for row in values)
        errors = [
            ", ".join(percent(r["error_percent"], 1) for r in values if r["metric"] == name) for name in VLLM_0151
        ]
        rows.append([f"{gpu}, {' and '.join(rates)}/s", values[0]["role"], *errors])
    medians = ", ".join(f"{name} {value:.1f}" for name, value in medians_of(report).items())
    return (
        table(["run", "where", *VLLM_0151], rows) + f"\n{met(report)} targets are met. Medians, predicted: {medians}.\n"
    )


def medians_of(report: Report) -> dict[str, float]:
    """Median of the absolute errors that are predicted, percent."""
    rows = [row for row in report["rows"] if row["role"] == "predicted"]
    return {
        name: float(np.median([abs(row["error_percent"]) for row in rows if row["metric"] == name]))
        for name in VLLM_0151
    }


def closed_loop(reports: Reports) -> str:
    """Every engine, GPU and model that was measured."""
    report = reports["closed-loop"]
    rows = [
        [row["group"] + ("" if row["promised"] else ", no target"), row["points"], f"{row['median_percent']:.1f}"]
        for row in report["rows"]
    ]
    return table(["GPU, engine, model", "runs", "median error, %"], rows) + f"\n{met(report)} targets are met.\n"


def mlenergy(reports: Reports) -> str:
    """Gaps between tokens by model and GPU."""
    heads = ["model, GPUs", "median error, GPU alone, %", "with host, %", "energy of a token, %"]
    keys = ("median_percent", "with_host_percent", "energy_percent")
    rows = [[row["group"], *(f"{row[key]:.1f}" for key in keys)] for row in reports["mlenergy"]["rows"]]
    return table(heads, rows) + f"\n{met(reports['mlenergy'])} targets are met.\n"


def decisions(reports: Reports) -> str:
    """Workloads alike in every step, and every request."""
    vllm, sglang = (reports[f"{name}-decisions"]["rows"][-1] for name in ("vllm", "sglang"))

    def said(row: Mapping[str, Any], engine: str, ahead: str) -> str:
        alike = min(row["same_steps"], row["same_outcome"])
        both = f"{alike} of {row['workloads']} workloads, {row[f'steps_of_{engine}']:,} steps"
        return f"{both}; {row[ahead]} of {row['workloads']} asynchronous"

    return table(
        ["engine", "command", "alike in every step and every request"],
        [
            ["vLLM 0.33.0", "`llmsim validate vllm-decisions --data DIR`", said(vllm, "vllm", "same_async_outcome")],
            [
                "SGLang 0.5.23",
                "`llmsim validate sglang-decisions --data DIR`",
                said(sglang, "sglang", "same_outcome_overlapped"),
            ],
        ],
    )


OTHERWISE = "llama-2-7b"  #: whose reference composes attention in another way


def steps_summary(reports: Reports) -> str:
    """Ranges over GPUs and models."""
    rows = [row for row in reports["steps"]["rows"] if row["kind"] == "all"]

    def span(latency: str, key: str) -> str:
        mine = [row for row in rows if row["latency"] == latency]
        usual = sorted(row[key] for row in mine if row["model"] != OTHERWISE)
        other = sorted(row[key] for row in mine if row["model"] == OTHERWISE)
        return f"{usual[0]:.2f} to {usual[-1]:.3g} % ({OTHERWISE}: {', '.join(f'{value:.3g}' for value in other)} %)"

    columns = ("median_percent", "p90_percent")
    found = [[f"`{name}`", *(span(name, key) for key in columns)] for name in ("table", "roofline")]
    said = f"\n{met(reports['steps'])} targets of `table` are met (median 2 %, 90th percentile 6 %).\n"
    return table(["latency model", "median, by GPU and model", "90th percentile"], found) + said


def steps(reports: Reports) -> str:
    """Step times of every GPU and model against the reference."""
    rows = [
        [
            f"`{row['latency']}`",
            row["gpu"],
            row["model"],
            row["tensor_parallel_size"],
            *(f"{row[key]:.3g}" for key in ("median_percent", "p90_percent")),
            f"{row['worst_percent']:.3g}, {row['worst_point']}",
        ]
        for row in reports["steps"]["rows"]
        if row["kind"] == "all"
    ]
    return table(["latency", "GPU", "model", "TP", "median %", "p90 %", "worst %"], rows)


README = """\
* Schedulers as they are: every step of vLLM 0.33's own scheduler and cache in {vllm} workloads, and of SGLang 0.5.23's
  in {sglang}, synchronous and asynchronous (`llmsim validate vllm-decisions`, `sglang-decisions`).
* vLLM 0.15 (asynchronous), three host constants fitted on an H100, A100 and L40S predicted: medians of E2E {e2e:.1f} %,
  TPOT {tpot:.1f} %, mean TTFT {ttft:.1f} %, P99 TTFT {p99:.1f} %; {of_0151} targets met (`llmsim validate vllm-0151`).
* vLLM 0.11 on one H100, from 1 request/s to saturation: mean E2E within 5 % but for the runs next to saturation;
  {kubecon} targets met.
* Disaggregated DistServe on A100s: {disaggregated} targets (15 %) met, with nothing fitted. vLLM of 2023 on an A100:
  {distserve} met.
"""


def readme(reports: Reports) -> str:
    """README's lines."""
    medians = medians_of(reports["vllm-0151"])
    return README.format(
        **{name: reports[f"{name}-decisions"]["rows"][-1]["workloads"] for name in ("vllm", "sglang")},
        e2e=medians["mean E2E"],
        tpot=medians["mean TPOT"],
        ttft=medians["mean TTFT"],
        p99=medians["p99 TTFT"],
        of_0151=met(reports["vllm-0151"]),
        kubecon=met(reports["kubecon"]),
        disaggregated=met(reports["distserve-disaggregated"]),
        distserve=met(reports["distserve"]),
    )


#: table -> what writes it, and the cases that it rests on
TABLES: dict[str, tuple[Callable[[Reports], str], tuple[str, ...]]] = {
    "readme": (
        readme,
        ("vllm-decisions", "sglang-decisions", "vllm-0151", "kubecon", "distserve", "distserve-disaggregated"),
    ),
    "distserve": (distserve, ("distserve",)),
    "distserve-disaggregated": (disaggregated, ("distserve-disaggregated",)),
    "kubecon": (kubecon, ("kubecon",)),
    "vllm-0151": (vllm_0151, ("vllm-0151",)),
    "closed-loop": (closed_loop, ("closed-loop",)),
    "mlenergy": (mlenergy, ("mlenergy",)),
    "decisions": (decisions, ("vllm-decisions", "sglang-decisions")),
    "steps-summary": (steps_summary, ("steps",)),
    "steps": (steps, ("steps",)),
}


def rewritten(text: str, reports: Reports) -> str:
    """A page with the tables anew for which all reports are there."""

    def anew(found: re.Match[str]) -> str:
        write, cases = TABLES[found[2]]
        return f"{found[1]}{write(reports)}{found[3]}" if set(cases) <= reports.keys() else found[0]

    return BLOCK.sub(anew, text)


def main() -> None:
    """Make or read the reports, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="left out: all")
    parser.add_argument("--data", type=Path, required=True, help="folder with groundtruth/, profiles/ and peers/")
    parser.add_argument("--saved", type=Path, help="folder of reports, CASE.json")
    given = parser.parse_args()
    known = list(dict.fromkeys(case for _, cases in TABLES.values() for case in cases))
    if unknown := set(given.cases) - set(known):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(known)}")
    reports = {case: report_of(case, given.data, given.saved) for case in given.cases or known}
    for page in PAGES:
        page.write_text(rewritten(page.read_text(encoding="utf-8"), reports), encoding="utf-8")


def report_of(case: str, data: Path, saved: Path | None) -> Report:
    """The report of a case, as JSON."""
    if saved is not None and (file := saved / f"{case}.json").is_file():
        found: Report = json.loads(file.read_text(encoding="utf-8"))
        return found
    from llmsim.studies import validation

    return validation.validate(case, data).to_dict()


if __name__ == "__main__":
    main()
