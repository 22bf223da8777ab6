"""Step times by name, with options of their own, from a scenario to a run."""

from __future__ import annotations

import json

import pytest

from llmsim import experiment
from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.experiment.instances import make_instances
from llmsim.latency.fitted import Fitted
from llmsim.latency.roofline import Roofline
from llmsim.latency.sources.constant import Constant
from llmsim.scenario import Scenario, load_scenario
from llmsim.studies.sweep.point_keys import key_of

SMALL = ["workload.requests=20"]
COEFFICIENTS = {
    "prefill": [20.0, 0.1, 7e-6],
    "decoding_smallbs": [20.0, 6e-4, 4e-2],
    "decoding_largebs": [7.0, 6e-4, 0.16],
    "decoding_large_small_bs_threshold": 95,
}


@pytest.fixture
def profile(tmp_path):
    file = tmp_path / "fitted.json"
    file.write_text(json.dumps({"llama-3.1-8b": {"1": COEFFICIENTS}}))
    return file


def latency_of(*changes: str):
    return make_instances(load_scenario("quickstart", [*SMALL, "host.profile=null", *changes]))[0].latency


def test_fitted_coefficients_are_reachable_from_a_scenario_given_or_in_a_file(profile):
    given = (
        "cluster.latency={name = 'fitted', prefill = [0.02, 1e-4, 7e-9], decode_small = [0.02, 6e-7, 4e-5], "
        "decode_large = [0.007, 6e-7, 1.6e-4], large_batch = 95}"
    )
    read = f"cluster.latency={{name = 'fitted', file = '{profile}'}}"

    assert isinstance(latency_of(given), Fitted)
    assert latency_of(read).prefill == pytest.approx(latency_of(given).prefill)
    assert experiment.run(load_scenario("quickstart", [*SMALL, read])).score["requests"]["finished"] == 20


def test_options_stand_beside_the_name_and_are_changed_one_by_one():
    half = latency_of("cluster.latency=roofline", "cluster.latency.memory=0.4")
    assert isinstance(half, Roofline)
    assert half.efficiencies.memory == 0.4
    assert half.step_time_s((), 1, 1000) > latency_of("cluster.latency=roofline").step_time_s((), 1, 1000)
    assert latency_of("cluster.latency={name='constant', step_s=0.5}") == Constant(0.5)


def test_a_pool_has_step_times_of_its_own(tmp_path):
    file = tmp_path / "pools.toml"
    file.write_text(
        "[[pool]]\nname = 'one'\n[[pool]]\nname = 'two'\nlatency = {name = 'constant', step_s = 0.5}\n"
        "[host]\nstep_s = 0\n"
    )
    one, two = make_instances(load_scenario(file, ["cluster.latency=roofline"]))

    assert isinstance(one.latency, Roofline)
    assert two.latency == Constant(0.5)


def test_a_name_without_options_is_stored_as_a_name():
    for chosen in ("roofline", {"name": "roofline", "memory": 0.5}):
        scenario = Scenario.model_validate({"cluster": {"latency": chosen}})
        assert scenario.model_dump()["cluster"]["latency"] == chosen
        assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario


@pytest.mark.parametrize(
    ("latency", "message"),
    [
        ("'tabel'", "line 2: cluster.latency: unknown latency source 'tabel'; did you mean 'table'?"),
        ("{name = 'roofline', memroy = 1}", "line 2: cluster.latency.memroy: unknown key; did you mean 'memory'?"),
        ("{name = 'roofline', memory = 'x'}", "line 2: cluster.latency.memory: 'x': expected a valid number"),
        ("{name = 'roofline', memory = 2.0}", "line 2: cluster.latency.memory: 2.0: expected"),
        ("{name = 'table', memory = 0.5}", "line 2: cluster.latency.memory: unknown key"),
        ("'fitted'", "line 2: cluster.latency: prefill is missing; expected prefill, decode_small"),
        ("{name = 'fitted', file = 'x.json', large_batch = 3}", "file and large_batch exclude each other"),
        ("{name = 'fitted', file = 'no.json'}", "no.json: No such file"),
        ("'constant'", "line 2: cluster.latency.step_s: missing"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, latency, message):
    file = tmp_path / "small.toml"
    file.write_text(f"[cluster]\nlatency = {latency}\n")
    with pytest.raises(InputError) as caught:
        experiment.check(load_scenario(file))

    assert message in str(caught.value)
    assert "small.toml, line 2: " in str(caught.value)


def test_a_sweep_runs_a_point_anew_when_the_coefficients_have_changed(profile):
    scenario = load_scenario("quickstart", [*SMALL, f"cluster.latency={{name='fitted', file='{profile}'}}"])
    before = key_of(scenario)
    profile.write_text(profile.read_text().replace("20.0", "21.0"))

    assert key_of(scenario) != before


def test_a_sweep_takes_a_latency_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\nfrom llmsim.latency.sources.constant import Constant\n"
        "@dataclass(frozen=True)\nclass Mine(Constant):\n    step_s: float = 0.5\n"
    )
    arguments = ["sweep", "quickstart", "--set", SMALL[0], "--axis", "cluster.latency.step_s=0.01,0.02"]

    assert main([*arguments, "--jobs", "2", "--latency-file", "mine.py", "--out", "o", "--json"]) == 0
    fast, slow = json.loads(capsys.readouterr().out)["rows"]
    assert slow["tpot_s.mean"] > 1.5 * fast["tpot_s.mean"]
    assert main(["run", "quickstart", "--latency-file", "mine.py", "--set", "cluster.latency=table"]) == 2
    assert "--latency-file and --set cluster.latency=… exclude each other" in capsys.readouterr().err
