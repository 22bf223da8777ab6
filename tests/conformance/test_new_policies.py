"""A policy is one file: found by its name, tested without another edit, from inside the package and from outside."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llmsim.cli import main
from places import ROOT

SCHEDULER = '''\
"""Shortest prompt first, one at a time."""
from llmsim.scheduler import DECODE, Decision, InstanceView, Scheduler


class ShortestFirst(Scheduler):
    """Needs no options."""

    def schedule(self, view: InstanceView) -> Decision:
        if view.num_running or not view.num_waiting:
            return DECODE
        shortest = min(view.waiting, key=lambda request: request.tokens_to_prefill)
        return Decision({shortest.id: shortest.tokens_to_prefill})
'''
ROUTER = '''\
"""Longest prompts to the last instance."""
from llmsim.router import FleetView, Router


class BySize(Router):
    """Needs no options."""

    def route(self, request, fleet: FleetView) -> int:
        return fleet.size - 1 if request.prompt_tokens > 150 else 0
'''
LATENCY = '''\
"""Steps that take as long as their tokens say."""
from dataclasses import dataclass
from llmsim.latency.contract import LatencyModel


@dataclass(frozen=True)
class PerToken(LatencyModel):
    """The same on any GPU."""

    token_s: float = 1e-4  #: each token of the step

    def step_time_s(self, prefill, decoding, context_tokens):
        return self.token_s * (decoding + sum(tokens for _, tokens in prefill))
'''
ARRIVALS = '''\
"""Requests in pairs."""
from dataclasses import dataclass

import numpy as np

from llmsim.workload.arrival_process import ArrivalProcess


@dataclass(frozen=True)
class Pairs(ArrivalProcess):
    """Two at a time, with equal gaps."""

    gap_s: float = 0.5  #: from a pair to the next one

    steady = False

    def times_s(self, rng, requests):
        return self.gap_s * (1.0 + np.arange(requests) // 2)
'''
LENGTHS = '''\
"""Lengths that grow."""
from dataclasses import dataclass

import numpy as np

from llmsim.workload.length_source import LengthSource


@dataclass(frozen=True)
class Growing(LengthSource):
    """Each prompt is one token longer than the one before."""

    shortest_tokens: int = 1  #: the first prompt

    def tokens(self, rng, requests):
        return self.shortest_tokens + np.arange(requests), np.full(requests, 7)
'''
TRACE = '''\
"""A log of our own."""
from llmsim.workload.trace_format import TraceFormat


class OurLog(TraceFormat):
    """CSV with milliseconds."""

    lines = "csv"
    arrival, prompt, output = "at_ms", "tokens_in", "tokens_out"
    clock = "ms"
'''
RESULT = '''\
"""What a benchmark of our own writes."""
import numpy as np

from llmsim.interop.answers import Answer
from llmsim.interop.document import Document
from llmsim.interop.format import Format
from llmsim.interop.measured import MeasuredResult, of_answers


class OurBench(Format):
    """A list of requests with milliseconds."""

    tool = "our bench"

    @classmethod
    def recognises(cls, document: Document) -> bool:
        return "our_first_ms" in document.first

    @classmethod
    def read(cls, document: Document) -> list[MeasuredResult]:
        times_s = [1e-3 * np.array([row["our_first_ms"], row["our_last_ms"]]) for row in document.objects]
        answers = [Answer(chunks_s, 2, prompt_tokens=9, end_s=chunks_s[-1]) for chunks_s in times_s]
        return [of_answers(cls.tool, answers, dated=False)]
'''
#: kind -> its file in a checkout, and what it holds
PARTS = {
    "scheduler": ("schedulers/shortest_first.py", SCHEDULER),
    "router": ("routers/by_size.py", ROUTER),
    "latency": ("latency/sources/per_token.py", LATENCY),
    "arrivals": ("workload/arrivals/pairs.py", ARRIVALS),
    "lengths": ("workload/lengths/growing.py", LENGTHS),
    "trace": ("workload/trace_formats/our_log.py", TRACE),
    "result": ("interop/formats/our_bench.py", RESULT),
}
#: what outside code leaves behind, where it runs
RAN = 'from pathlib import Path\nPath("code-ran").touch()\n'
SCENARIO = """\
[workload]
requests = 20
arrivals = { process = "poisson", rate_per_s = 8.0 }
lengths = { source = "fixed", prompt_tokens = 200, output_tokens = 20 }
[cluster]
latency = "roofline"
"""


@pytest.fixture
def copy(tmp_path):
    """Package and conformance tests as a checkout has them, without this file."""
    ignore = shutil.ignore_patterns("__pycache__", Path(__file__).name)
    shutil.copytree(ROOT / "llmsim", tmp_path / "llmsim", ignore=ignore)
    shutil.copytree(ROOT / "tests" / "conformance", tmp_path / "tests" / "conformance", ignore=ignore)
    shutil.copytree(ROOT / "hardware_profiles", tmp_path / "hardware_profiles")
    for module in ("places.py", "conftest.py"):
        shutil.copy(ROOT / "tests" / module, tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run_in(folder, *arguments):
    return subprocess.run([sys.executable, "-B", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_new_files_are_found_and_tested_without_another_edit(copy):
    spoiled = SCHEDULER.replace("if view.num_running or", "if view.num_running < 2 and view.num_waiting > 3 or")
    (copy / "llmsim" / "schedulers" / "shortest_first.py").write_text(SCHEDULER)
    (copy / "llmsim" / "schedulers" / "spoiled.py").write_text(spoiled)
    (copy / "llmsim" / "routers" / "by_size.py").write_text(ROUTER)
    select = ("-k", "shortest_first or spoiled or by_size")
    done = run_in(copy, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-o", "addopts=", "tests", *select)

    assert "test_it_serves_every_request_and_is_pure[shortest_first] PASSED" in done.stdout, done.stdout
    assert "test_it_serves_every_request_and_is_pure[spoiled] FAILED" in done.stdout, done.stdout
    assert "test_it_sends_every_request_somewhere_and_keeps_no_state[by_size] PASSED" in done.stdout, done.stdout
    assert "1 failed" in done.stdout, "only the spoiled one breaks the contract"


def test_a_new_latency_file_is_found_tested_listed_and_run_with_its_options(copy):
    (copy / "llmsim" / "latency" / "sources" / "per_token.py").write_text(LATENCY)
    (copy / "small.toml").write_text(SCENARIO.replace('"roofline"', '{ name = "per_token", token_s = 0.01 }'))
    tested = run_in(copy, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-o", "addopts=", "tests", "-k", "per_token")
    listed = run_in(copy, "-m", "llmsim", "list", "latencies").stdout.split()
    keys = run_in(copy, "-m", "llmsim", "list", "keys", "cluster.latency").stdout
    done = run_in(copy, "-m", "llmsim", "run", "small.toml", "--json")

    assert "4 passed" in tested.stdout, tested.stdout
    assert "per_token" in listed
    assert "token_s: number (s), = 0.0001" in keys
    assert json.loads(done.stdout)["ttft_s"]["p50"] >= 200 * 0.01, done.stderr


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in (folder / "llmsim").rglob("*") if file.is_file()}


def test_a_part_of_each_kind_is_one_new_file_and_nothing_else(copy):
    """One of each is added and used in one run; conformance tests and lists know it; no other file is touched."""
    before = contents(copy)
    for file, text in PARTS.values():
        (copy / "llmsim" / file).write_text(text)
    (copy / "log.csv").write_text("at_ms,tokens_in,tokens_out\n0,30,4\n500,200,5\n")
    (copy / "drawn.toml").write_text(
        "[workload]\nrequests = 6\narrivals = { process = 'pairs', gap_s = 2.0 }\n"
        "lengths = { source = 'growing', shortest_tokens = 149 }\n"
        "[cluster]\ninstances = 2\nlatency = 'per_token'\nrouter = 'by_size'\n[scheduler]\nname = 'shortest_first'\n"
    )
    (copy / "measured.json").write_text('[{"our_first_ms": 300, "our_last_ms": 340}]')
    names = " or ".join(Path(file).stem for file, _ in PARTS.values())
    tested = run_in(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "tests", "-k", names)
    drawn = run_in(copy, "-m", "llmsim", "run", "drawn.toml", "--out", "drawn")
    traced = run_in(copy, "-m", "llmsim", "run", "drawn.toml", "--set", "workload.trace=log.csv", "--json")
    scored = run_in(copy, "-m", "llmsim", "score", "measured.json", "--json")

    assert " passed" in tested.stdout, tested.stdout
    assert "failed" not in tested.stdout, tested.stdout
    requests = pq.read_table(copy / "drawn" / "requests.parquet") if drawn.returncode == 0 else drawn.stderr
    assert requests["arrival_s"].to_pylist() == [2.0, 2.0, 4.0, 4.0, 6.0, 6.0]
    assert requests["prompt_tokens"].to_pylist() == [149, 150, 151, 152, 153, 154]
    assert requests["instance"].to_pylist() == [0, 0, 1, 1, 1, 1]
    assert json.loads(traced.stdout)["requests"]["finished"] == 2, traced.stderr
    assert json.loads(scored.stdout)["ttft_s"]["p50"] == pytest.approx(0.3), scored.stderr
    after = {file: text for file, text in contents(copy).items() if "__pycache__" not in file.parts}
    assert {file for file in after if after[file] != before.get(file)} == {
        Path("llmsim") / file for file, _ in PARTS.values()
    }


def test_a_new_scheduler_file_is_run_by_its_name(copy):
    (copy / "llmsim" / "schedulers" / "shortest_first.py").write_text(SCHEDULER)
    (copy / "small.toml").write_text(SCENARIO)
    done = run_in(copy, "-m", "llmsim", "run", "small.toml", "--scheduler", "shortest_first", "--json")

    assert json.loads(done.stdout)["requests"]["finished"] == 20, done.stderr


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A scenario; and on the path an installed distribution as pip would leave it: a module and its dist-info."""
    (tmp_path / "small.toml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    info = tmp_path / "site" / "outside_policies-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "outside_policies.py").write_text(f"{RAN}{SCHEDULER}\n{ROUTER}\n{LATENCY}")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-policies\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[llmsim.schedulers]\noutside = outside_policies:ShortestFirst\n"
        "[llmsim.routers]\nby_size = outside_policies:BySize\n"
        "[llmsim.latency.sources]\nper_token = outside_policies:PerToken\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield tmp_path
    sys.modules.pop("outside_policies", None)


def finished(capsys, *arguments):
    assert main(["run", "small.toml", "--json", *arguments]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)["requests"]["finished"]


def test_installed_entry_points_are_schedulers_and_routers(folder, capsys):
    choose = ("--scheduler", "outside", "--set", "cluster.router=by_size", "--set", "cluster.instances=2")
    choose += ("--set", "cluster.latency=per_token", "--set", "cluster.latency.token_s=1e-3")

    assert finished(capsys, *choose) == 20
    assert (folder / "code-ran").exists()


def test_listing_and_other_scenarios_run_no_outside_code(folder, capsys):
    assert main(["list", "schedulers"]) == 0
    assert "outside" in capsys.readouterr().out.split()
    assert finished(capsys) == 20
    assert not (folder / "code-ran").exists()


def test_a_scheduler_file_is_run_when_the_command_names_it(folder, capsys):
    (folder / "mine.py").write_text(RAN + SCHEDULER)

    assert finished(capsys, "--scheduler-file", "mine.py") == 20
    assert (folder / "code-ran").exists()


def test_a_latency_file_is_run_when_the_command_names_it_with_options_of_its_own(folder, capsys):
    (folder / "mine.py").write_text(RAN + LATENCY)

    assert finished(capsys, "--latency-file", "mine.py", "--set", "cluster.latency.token_s=1e-3") == 20
    assert (folder / "code-ran").exists()


OTHER = dict.fromkeys(("cluster.router", "cluster.gpu", "cluster.model"), SCENARIO)
OTHER["cluster.latency"] = SCENARIO.replace('latency = "roofline"\n', "")


@pytest.mark.parametrize("name", ["mine", "mine.py", "./mine.py", "mine:ShortestFirst"])
@pytest.mark.parametrize("key", ["scheduler.name", "cluster.router", "cluster.gpu", "cluster.model", "cluster.latency"])
def test_a_scenario_alone_never_runs_code(folder, monkeypatch, capsys, key, name):
    """The file lies beside the scenario and on the path, and the scenario names it: still no code runs."""
    (folder / "mine.py").write_text(RAN + SCHEDULER)
    (folder / "small.toml").write_text(
        f'{key} = "{name}"\n' if "scheduler" in key else f'{OTHER[key]}{key[8:]} = "{name}"\n'
    )
    monkeypatch.syspath_prepend(folder)

    assert main(["run", "small.toml", "--json"]) == 2
    assert capsys.readouterr().err.startswith("error: small.toml, line ")
    assert not (folder / "code-ran").exists()
