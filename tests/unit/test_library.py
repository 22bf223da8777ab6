"""llmsim as a library: few names, imported when used."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys

import pytest

import llmsim
from llmsim import scenario
from llmsim.errors import InputError
from llmsim.metrics.score import score
from llmsim.schedulers.static import Static
from places import ROOT

SMALL = ["workload.requests=20", "cluster.latency=roofline"]


def test_every_public_name_is_there_and_nothing_else():
    assert sorted(llmsim.__all__) == ["__version__", "load_scenario", "run", "score"]
    assert set(llmsim.__all__) <= set(dir(llmsim))
    assert llmsim.load_scenario is scenario.load_scenario
    assert llmsim.score is score
    with pytest.raises(AttributeError, match="has no attribute 'rum'"):
        llmsim.rum  # noqa: B018


def test_import_loads_nothing_heavy():
    code = "import sys, llmsim; print(*{'numpy', 'simpy', 'pydantic', 'matplotlib'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_run_takes_a_name_a_file_or_a_scenario():
    file = scenario.find_scenario("quickstart")
    loaded = llmsim.load_scenario("quickstart", SMALL)
    results = [llmsim.run("quickstart", SMALL), llmsim.run(file, SMALL), llmsim.run(loaded)]

    tbt = [result.score["tbt_s"] for result in results]
    assert tbt == [tbt[0]] * 3
    assert results[0].score["requests"]["finished"] == 20


def test_run_takes_a_scheduler_of_ones_own():
    class Alone(Static):
        def schedule(self, view):
            assert view.num_running <= 32
            return super().schedule(view)

    mine, named = llmsim.run("quickstart", SMALL, scheduler=Alone), llmsim.run("quickstart", SMALL)

    assert mine.score["ttft_s"]["mean"] > named.score["ttft_s"]["mean"]


def test_overrides_of_a_loaded_scenario_are_refused():
    with pytest.raises(InputError, match="overrides change a scenario's file"):
        llmsim.run(llmsim.load_scenario("quickstart"), SMALL)


def test_the_example_of_the_reference_says_what_it_shows():
    page = ROOT / "docs/reference/python.md"
    (example,) = re.findall(r"```pycon\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    test = doctest.DocTestParser().get_doctest(example, {}, page.name, None, None)

    assert doctest.DocTestRunner().run(test).failed == 0
