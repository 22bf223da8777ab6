"""AdaServe's workloads: how a file is read, and what is said of shares that are made up."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.slo import Slo
from llmsim.studies.validation.cases import adaserve
from llmsim.studies.validation.cases.adaserve import Served
from llmsim.studies.validation.ways_to_draft import KINDS
from llmsim.workload.classes import Classes
from llmsim.workload.contract import Workload

ROWS = "arrival_s,prompt_tokens,output_tokens,slo_ratio\n0.0,100,256,1.2\n4.5,810,256,-150.0\n4.6,14,256,-50.0\n"


def test_bounds_are_milliseconds_or_multiples_of_a_lone_token(tmp_path):
    folder = tmp_path / adaserve.FOLDER
    folder.mkdir(parents=True)
    (folder / "some.csv.gz").write_bytes(gzip.compress(ROWS.encode()))
    requests = adaserve.read_workload(tmp_path, "some")
    bounds_s = [requests.classes.slos[number].tpot_s for number in requests.classes.of_request]

    assert bounds_s == pytest.approx([0.036, 0.15, 0.05])
    assert requests.classes.names == ("36_ms", "50_ms", "150_ms")
    assert requests.prompt_tokens.tolist() == [100, 810, 14]
    assert adaserve.serve(requests, ()).attained == 100.0
    with pytest.raises(InputError, match=r"other\.csv\.gz: no such file, expected a workload of AdaServe"):
        adaserve.read_workload(tmp_path, "other")


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"4 drafts": (100, 0, 2.8)}, ["at 4.2/s: best", "at 4.4/s: best", "at 4.8/s: best", "AdaServe's lead"]),
        ({"chunked prefill": (100, -3, 1.0)}, ["at 4.2/s: no drafts", "at 4.4/s: no drafts", "at 4.8/s: no drafts"]),
        ({"AdaServe": (100, -2, 2.8)}, ["AdaServe's tokens a step rise"]),
    ],
)
def test_the_papers_findings_are_checked(changes, missed):
    """Of each kind: percent attained at the lowest rate, what it loses from one to the next, and tokens a step."""
    lines = {"AdaServe": (100, -2, 3.2), "4 drafts": (100, -4, 2.8)} | changes
    found = []
    for at in range(len(adaserve.RATES_PER_S)):
        row = {}
        for kind in KINDS:
            first, loss, length = lines.get(kind, (50, -6, 1.0))
            slope = 0.1 if (kind, length) == ("AdaServe", 2.8) else -0.1
            row[kind] = Served(first + at * loss, {}, length + at * slope, 300.0)
        found.append(row)
    checks = [check for check in adaserve._order(found) if not check.passed]
    assert [check.name.startswith(name) for check, name in zip(checks, missed, strict=True)] == [True] * len(missed)


def made(prompts, numbers, source="made up"):
    classes = Classes(np.array(numbers), ("36_ms", "150_ms"), (0, 0), slos=(Slo(tpot_s=0.036), Slo(tpot_s=0.15)))
    n = len(prompts)
    return Workload(np.arange(n) / 1.0, np.array(prompts), np.full(n, 8), source, classes=classes)


def test_prompts_in_characters_are_divided_by_those_of_a_token():
    """By hand: code of 330 and 660 characters against 100 and 200 tokens, texts of 5,000 against 1,000."""
    in_file, other = made([330, 5000, 660], [0, 1, 0]), made([100, 200, 1000], [0, 0, 1], "other")
    note = adaserve._in_characters(in_file, other)

    assert adaserve.in_tokens(in_file, other).prompt_tokens.tolist() == [100, 1000, 200]
    assert "in other, times as long" in note
    assert "36 ms 3.3, 3.3, 3.3; 150 ms 5.0, 5.0, 5.0" in note
