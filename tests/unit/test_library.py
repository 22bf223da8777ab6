"""llmsim as a library: few names, imported when used."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys

import pytest

import llmsim
from llmsim import scenario
from llmsim.errors import InputError
from llmsim.schedulers.static import Static
from places import ROOT

SMALL = ["workload.requests=20", "cluster.latency=roofline"]


def test_every_public_name_is_there_and_nothing_else():
    calls = ["audit", "compare", "plan", "report", "run", "score", "sweep", "validate"]
    assert sorted(llmsim.__all__) == sorted(["__version__", "load_scenario", *calls])
    assert set(llmsim.__all__) <= set(dir(llmsim))
    assert llmsim.load_scenario is scenario.load_scenario
    for name in calls:
        assert getattr(llmsim, name) is getattr(importlib.import_module(f"llmsim.library.{name}"), name)
    with pytest.raises(AttributeError, match="has no attribute 'rum'"):
        llmsim.rum  # noqa: B018


def test_type_checkers_know_the_same_names():
    stub = ast.parse((ROOT / "llmsim" / "__init__.pyi").read_text(encoding="utf-8"))
    imported = {name.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for name in node.names}

    assert {*imported, "__version__"} == set(llmsim.__all__)
    assert all(getattr(importlib.import_module(imported[name]), name) is getattr(llmsim, name) for name in imported)


def test_calls_have_one_convention():
    for name in set(llmsim.__all__) - {"__version__", "load_scenario"}:
        what, changes, *options = inspect.signature(getattr(llmsim, name)).parameters.values()
        assert (changes.name, changes.default, what.default) == ("overrides", (), inspect.Parameter.empty)
        assert {option.kind for option in options} == {inspect.Parameter.KEYWORD_ONLY}
        assert {"jobs": 1, "out": None}.items() <= {option.name: option.default for option in options}.items()


def test_import_loads_nothing_heavy():
    code = "import sys, llmsim; print(*{'numpy', 'simpy', 'pydantic', 'matplotlib'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_a_run_without_a_trace_loads_nothing_that_reads_traces():
    code = (
        "import sys; from llmsim.cli import main; "
        "main(['run', 'quickstart', '--set', 'workload.requests=9', '--json']); "
        "print(*{'pandas', 'pyarrow', 'matplotlib'} & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stderr.split() == []


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
