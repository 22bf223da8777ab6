"""[router] of a scenario, through to the score and what is printed."""

from __future__ import annotations

import json

import pytest

from llmsim import experiment
from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.experiment.routing import make_reports, make_router
from llmsim.routers.least_outstanding import LeastOutstanding
from llmsim.scenario import load_scenario

TEXT = """\
[workload]
requests = 60
arrivals = { process = "constant", rate_per_s = 40.0 }
lengths = { source = "fixed", prompt_tokens = 200, output_tokens = 20 }

[cluster]
instances = 3

[router]
name = "length_split"
threshold_tokens = 100
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "routed.toml"
    file.write_text(TEXT)
    return file


def instances(file, *changes):
    return experiment.run(load_scenario(file, changes)).record.requests["instance"]


def test_name_and_options_of_a_router_come_from_its_table(file):
    assert set(instances(file)) == {2}
    assert set(instances(file, "router.threshold_tokens=200")) == {0, 1}
    assert set(instances(file, "router.long_instances=2")) == {1, 2}


def test_the_short_form_in_cluster_still_names_the_router(tmp_path):
    file = tmp_path / "short.toml"
    file.write_text(TEXT.partition("[router]")[0] + 'router = "least_outstanding"\n')
    scenario = load_scenario(file, ["router.report_age_s=0.5"])

    assert scenario.router_name == "least_outstanding"
    assert make_router(scenario) == LeastOutstanding()
    assert make_reports(scenario).age_s == 0.5


def test_old_news_changes_where_requests_go_and_fresh_news_is_the_default(file):
    name = "router={name='least_outstanding'}"
    fresh = instances(file, name)

    assert (fresh == instances(file, name, "router.report_age_s=0")).all()
    herded = instances(file, name, "router.report_age_s=0.2", "router.count_own_sends=false")
    assert (herded[:7] == 0).all()
    assert len(set(fresh[:7])) == 3


@pytest.mark.parametrize(
    ("changes", "reports", "printed"),
    [
        (("router={name='round_robin'}",), None, "round_robin, chunked"),
        (("router={name='power_of_two'}",), "oracle", "power_of_two (reports: oracle), chunked"),
        (("router.report_age_s=0.5",), "periodic", "length_split (threshold_tokens 100) (reports every 0.5 s and its"),
        (
            ("router={name='power_of_two',report_age_s=0.25,count_own_sends=false}",),
            "periodic",
            "(reports every 0.25 s without its own sends since)",
        ),
        (
            ("router={name='prefix_aware',report_age_s=0.25}", "cluster.prefix_caching=true"),
            "periodic",
            "and its own sends since, caches: oracle)",
        ),
        (("router={name='power_of_two'}", "cluster.instances=1"), "oracle", "power_of_two, chunked"),
    ],
)
def test_every_output_says_how_old_the_news_of_the_router_is(file, tmp_path, capsys, changes, reports, printed):
    sets = [word for change in changes for word in ("--set", change)]
    assert main(["run", str(file), *sets, "--out", str(tmp_path / "out")]) == 0
    choice = json.loads((tmp_path / "out" / "score.json").read_text())["choices"]["router"]

    assert choice["reports"] == reports
    assert printed in " ".join(capsys.readouterr().out.split())


def test_sweeps_say_it_as_well(file, tmp_path, capsys):
    out = ("--jobs", "1", "--out", str(tmp_path / "swept"))
    assert main(["sweep", str(file), "--axis", "router.report_age_s=0,0.5", *out, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["router_reports"] for row in rows] == ["oracle", "periodic"]

    assert main(["sweep", str(file), "--axis", "router.report_age_s=0,0.5", *out]) == 0
    assert "0 s: the router sees the present state (oracle)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "router.name=length_splat",
            "command line: router.name: unknown router 'length_splat'; did you mean 'le",
        ),
        ("router.threshold=3", "command line: router.threshold: unknown key; did you mean 'threshold_tokens'"),
        ("router.report_age=3", "command line: router.report_age: unknown key; did you mean 'report_age_s'"),
        (
            "router.report_age_s=-1",
            "command line: router.report_age_s: -1: expected a number greater than or equal to 0",
        ),
        ("router.count_own_sends=3", "command line: router.count_own_sends: 3: expected a valid boolean"),
        ("cluster.router=random", "router.name and cluster.router say the same thing; give one of them"),
        (
            "router={name='length_split',short='a',long='all'}",
            "router.short: no .*pool.* is named 'a'; known: all",
        ),
        ("router.short=all", "short and long name a pool each; give both or neither"),
    ],
)
def test_bad_input_is_one_line(file, change, said):
    with pytest.raises(InputError, match=said) as error:
        experiment.check(load_scenario(file, [change]))
    assert "\n" not in str(error.value)
