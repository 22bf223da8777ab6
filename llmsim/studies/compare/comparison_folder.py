"""A comparison as JSON and as tables in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import llmsim
from llmsim.errors import InputError
from llmsim.experiment.result_folder import write_json
from llmsim.experiment.seal import question, seal
from llmsim.metrics import catalogue
from llmsim.studies.compare.comparison import Against, Comparison
from llmsim.studies.compare.differences import Difference, metrics
from llmsim.studies.compare.request_pairs import Group
from llmsim.studies.compare.side_runs import Run
from llmsim.studies.compare.sides import Side

#: the file whose presence makes a folder that of a comparison
COMPARISON_FILE = "compare.json"
DIFFERENCES, RUNS, GROUPS, REQUESTS = "differences.parquet", "runs.parquet", "groups.parquet", "requests.parquet"


def write(comparison: Comparison, folder: Path, *, force: bool = False) -> None:
    """Write compare.json and four tables into an existing folder; the same comparison gives the same bytes.

    P99s of runs that are not steady are left out unless forced. InputError where the folder cannot be written.
    """
    try:
        write_json(folder / COMPARISON_FILE, as_json(comparison, force=force))
        _write(difference_rows(comparison, force=force), folder / DIFFERENCES)
        _write((_row(side.label, run, force) for side, runs in comparison.sides for run in runs), folder / RUNS)
        groups = ({"side": one.side.label, **_flat(group)} for one in comparison.others for group in one.groups)
        _write(groups, folder / GROUPS)
        _write_requests(comparison.others, folder / REQUESTS)
        seal(folder, question_of([side for side, _ in comparison.sides]))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror or error}") from None


def question_of(sides: Sequence[Side]) -> str:
    """What a comparison answers, as a checksum; with how many seeds is no part of it."""
    return question(sides=[side.scenario.model_dump(mode="json") for side in sides])


def as_json(comparison: Comparison, *, force: bool = False) -> dict[str, Any]:
    """A comparison as JSON values; P99s of runs that are not steady are None unless forced."""
    return {
        "llmsim": llmsim.__version__,
        "seeds": list(comparison.seeds),
        "charged_until_s": comparison.runs[0].end_s,
        "notes": list(comparison.notes),
        "sides": [
            {
                "label": side.label,
                "name": side.name,
                "verdicts": [run.verdict.to_dict() for run in runs],
                "runs": [_row(side.label, run, force) for run in runs],
                "scenario": side.scenario.model_dump(mode="json"),
            }
            for side, runs in comparison.sides
        ],
        "against": [_against(one, force) for one in comparison.others],
        "conditions": [answer.to_dict() for answer in comparison.answers],
        "failed": comparison.failed,
        "untold": comparison.untold,
    }


def withheld(difference: Difference, *, force: bool = False) -> bool:
    """Whether a difference is not shown: of P99s that no steady state stands behind."""
    return bool(difference.caution) and not force


def difference_rows(comparison: Comparison, *, force: bool = False) -> Iterator[dict[str, Any]]:
    """Rows of ``differences.parquet``, one for each side and metric; P99s withheld as in `as_json`."""
    for one in comparison.others:
        for difference in one.differences.values():
            yield {"side": one.side.label, **_flat(_shown(difference, force))}


def _against(one: Against, force: bool) -> dict[str, Any]:
    return {
        "side": one.side.label,
        "differences": [_shown(difference, force).to_dict() for difference in one.differences.values()],
        "groups": [group.to_dict() for group in one.groups],
        "most_changed": one.picked,
    }


def _shown(difference: Difference, force: bool) -> Difference:
    return difference.withheld() if withheld(difference, force=force) else difference


def _row(label: str, run: Run, force: bool) -> dict[str, Any]:
    values = {
        name: None if catalogue.kpi_of(name).tail and not run.steady and not force else value
        for name, value in metrics(run.score)
    }
    return {"side": label, "seed": run.scenario.seed, "verdict": run.verdict.answer, **values}


def _flat(row: Difference | Group) -> dict[str, Any]:
    """The columns of a row, those of an interval each on its own."""
    out: dict[str, Any] = {}
    for name, value in row.to_dict().items():
        if isinstance(value, dict):
            out |= {f"{name}.{part}": number for part, number in value.items()}
        else:
            out[name] = value
    return out


def _write(rows: Iterable[Mapping[str, Any]], file: Path) -> None:
    import pyarrow.parquet as pq

    from llmsim.studies.sweep.sweep_table import to_arrow

    pq.write_table(to_arrow(list(rows)), file)


def _write_requests(others: Sequence[Against], file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for one in others:
        columns = one.requests
        if columns:
            n = len(columns["request"])
            tables.append(pa.table({"side": pa.array([one.side.label] * n), **columns}))
    if tables:
        pq.write_table(pa.concat_tables(tables), file)
