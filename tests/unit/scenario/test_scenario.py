from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from llmsim.errors import InputError
from llmsim.scenario import (
    ArrivalsTable,
    LengthsTable,
    Scenario,
    SyntheticWorkload,
    TraceWorkload,
    load_scenario,
    scenario_names,
)
from llmsim.scenario.load import line_numbers

TEXT = """\
name = "small"
[workload]
requests = 10
arrivals = { process = "poisson", rate_per_s = 4.0 }
lengths = { source = "fixed", prompt_tokens = 100, output_tokens = 10 }

[cluster]
instances = 2  # two

[scheduler]
name = "fcfs"
max_num_seqs = 12
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(TEXT)
    return path


def message(file: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_scenario(file, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_becomes_the_scenario_it_describes(file: Path) -> None:
    scenario = load_scenario(file)

    assert scenario.name == "small"
    assert scenario.workload == SyntheticWorkload(
        requests=10,
        arrivals=ArrivalsTable.of("poisson", rate_per_s=4.0),
        lengths=LengthsTable.of("fixed", prompt_tokens=100, output_tokens=10),
    )
    assert scenario.cluster.instances == 2
    assert scenario.scheduler.name == "fcfs"
    assert scenario.scheduler.options == {"max_num_seqs": 12}


def test_an_empty_file_is_a_scenario_of_defaults_named_after_it(tmp_path: Path) -> None:
    (tmp_path / "nothing.toml").write_text("")

    assert load_scenario(tmp_path / "nothing.toml") == Scenario(name="nothing")


def test_a_scenario_survives_json(file: Path) -> None:
    scenario = load_scenario(file)

    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario


@pytest.mark.parametrize("distribution", ["fixed", "exponential", "lognormal"])
def test_users_who_leave_survive_json(distribution: str) -> None:
    scenario = Scenario.model_validate({"patience": {"first_token": {"distribution": distribution, "mean_s": 3.0}}})

    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario


def test_a_scenario_goes_to_another_process_with_its_places(file: Path) -> None:
    scenario = load_scenario(file)
    copy = pickle.loads(pickle.dumps(scenario))

    assert copy == scenario
    assert copy.where("cluster", "instances") == f"{file}, line 8: cluster.instances: "


def test_a_scenario_cannot_be_changed(file: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_scenario(file).seed = 3  # type: ignore[misc]


def test_overrides_take_toml_values_and_bare_strings(file: Path) -> None:
    scenario = load_scenario(
        file,
        [
            "cluster.instances=4",
            "scheduler.name=static",
            'workload.arrivals={process="on_off", rate_per_s=2, on_s=1.0, off_s=3.0}',
            "slo.e2e_s=9.5",
        ],
    )

    assert scenario.cluster.instances == 4
    assert scenario.scheduler.name == "static"
    assert scenario.slo.model_dump(exclude_none=True) == {"e2e_s": 9.5}
    assert isinstance(scenario.workload, SyntheticWorkload)
    assert scenario.workload.arrivals == ArrivalsTable.of("on_off", rate_per_s=2, on_s=1.0, off_s=3.0)


def test_an_override_can_choose_another_process_and_keep_the_rate(file: Path) -> None:
    changes = ["workload.arrivals.process=gamma", "workload.arrivals.burstiness=0.5"]
    workload = load_scenario(file, changes).workload

    assert isinstance(workload, SyntheticWorkload)
    assert workload.arrivals == ArrivalsTable.of("gamma", rate_per_s=4.0, burstiness=0.5)


def test_an_override_that_names_a_trace_replaces_the_drawn_requests(file: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.touch()

    assert load_scenario(file, [f"workload.trace={trace}"]).workload == TraceWorkload(trace=str(trace))
    for limit in ("limit", "requests"):
        limited = load_scenario(file, [f"workload.trace={trace}", f"workload.{limit}=5"]).workload
        assert limited == TraceWorkload(trace=str(trace), limit=5)


def test_a_relative_trace_lies_in_the_current_folder_or_beside_the_scenario(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (tmp_path / "trace.csv").touch()
    beside = load_scenario(file, ["workload.trace=trace.csv"]).workload
    (here / "trace.csv").touch()
    current = load_scenario(file, ["workload.trace=trace.csv"]).workload

    assert beside == TraceWorkload(trace=str(tmp_path / "trace.csv"))
    assert current == TraceWorkload(trace="trace.csv")


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("requests = 10", "request = 10", 3, "workload.request: unknown key for synthetic workload; did you"),
        ("requests = 10", 'requests = "ten"', 3, "workload.requests: 'ten': expected a valid integer"),
        ("requests = 10", "requests = 0", 3, "workload.requests: 0: expected a number greater than or equal"),
        ("rate_per_s = 4.0", "rate_per_s = -4", 4, "workload.arrivals.rate_per_s: -4: expected a number gr"),
        ("rate_per_s = 4.0", "rate_per_s = nan", 4, "rate_per_s: nan: expected a finite number"),
        ('"poisson"', '"poison"', 4, "process: unknown arrival process 'poison'; did you mean 'poisson'?"),
        (
            "4.0 }",
            "4.0, burstiness = 2.0 }",
            4,
            "burstiness: unknown key for poisson arrivals; known: process, rate_per_s",
        ),
        ("prompt_tokens = 100, ", "", 5, "workload.lengths.prompt_tokens: missing"),
        ("instances = 2", "instances = true", 8, "cluster.instances: True: expected a valid integer"),
        ("instances = 2", "latency = 3", 8, "cluster.latency: 3: expected a name, or a table with a name"),
        ("instances = 2", "latency = {}", 8, "cluster.latency.name: missing"),
        ("[cluster]", "[clutser]", 7, "clutser: unknown key; did you mean 'cluster'?"),
        ('name = "small"', "user.charge = 3", 1, "user.charge: unknown value 3; known: until_drop, until_p"),
        ('name = "small"', "slo = {}", 1, "slo: no bound; give at least one of ttft_s, tbt_s, tpot_s, e2e_s"),
        ('name = "small"', "slo = 4", 1, "slo: 4: expected a table"),
    ],
)
def test_a_wrong_value_is_told_with_file_line_and_key(file: Path, old: str, new: str, line: int, says: str) -> None:
    file.write_text(TEXT.replace(old, new))

    assert message(file).startswith(f"{file}, line {line}: ")
    assert says in message(file)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("cluster.instnces=2", "command line: cluster.instnces: unknown key; did you mean 'instances'?"),
        ("cluster.instances", "--set cluster.instances: expected key=value, such as cluster.instances=4"),
        ("=4", "--set =4: expected key=value"),
        ("scheduler=fcfs", "command line: scheduler: 'fcfs': expected a table"),
        (
            "workload.requests.x=1",
            "--set workload.requests.x: 'requests' is 10, which has no keys of its own",
        ),
        ("workload.rate_scale=2", "command line: workload.rate_scale: unknown key for synthetic workload"),
        ("workload.trace=no.csv", "command line: workload.trace: no such file: no.csv"),
        (
            'workload.arrivals={process="burst", rate_per_s=1}',
            "command line: workload.arrivals.process: unknown arrival process 'burst'; did you mean 'bursts'?",
        ),
    ],
)
def test_a_wrong_override_is_told_as_such(file: Path, override: str, says: str) -> None:
    assert message(file, override).startswith(says)


def test_a_value_cannot_smuggle_in_other_keys(file: Path) -> None:
    assert "name: " not in message(file, "seed=1\nname = 'other'")
    assert load_scenario(file, ["name=1\nseed = 4"]).seed == 0


def test_drawn_requests_beside_a_trace_are_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").touch()
    file.write_text(TEXT.replace("requests = 10", 'trace = "t.csv"'))

    assert message(file).startswith(f"{file}, line 5: workload.lengths: unknown key for trace workload")


def test_what_is_no_scenario_file_is_told(file: Path, tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "broken.toml").write_text("name = \n")

    assert "no such scenario file; did you mean 'quickstart'?" in message(tmp_path / "quikstart.toml")
    assert "is a folder" in message(tmp_path)
    assert "not a text file" in message(tmp_path / "binary.toml")
    assert "not valid TOML: Invalid value (at line 1" in message(tmp_path / "broken.toml")


def test_lines_of_keys_are_found_through_comments_strings_and_dots() -> None:
    text = "\n".join(
        [
            "# a = 1",  # line 1
            'title = """',
            "b = 2",
            '"""',
            "[one]  # c",
            "x.y = 3",  # line 6
            '"quoted key" = 4',
            "z = { deep = { deeper = 5 } }",
            "[[two]]",
            "w = 6",
            "[[two]]",
            "v = 7",
            "[two.inner]",
            "u = 8",
        ]
    )

    assert line_numbers(text) == {
        ("title",): 2,
        ("one",): 5,
        ("one", "x", "y"): 6,
        ("one", "quoted key"): 7,
        ("one", "z"): 8,
        ("one", "z", "deep"): 8,
        ("one", "z", "deeper"): 8,
        ("two",): 9,
        ("two", "0"): 9,
        ("two", "w"): 10,
        ("two", "0", "w"): 10,
        ("two", "1"): 11,
        ("two", "1", "v"): 12,
        ("two", "v"): 12,
        ("two", "1", "inner"): 13,
        ("two", "inner"): 13,
        ("two", "1", "inner", "u"): 14,
        ("two", "inner", "u"): 14,
    }


def test_shipped_scenarios_are_valid_and_found_by_name() -> None:
    names = scenario_names()

    assert {"quickstart", "azure_conv", "azure_code", "mooncake_conversation"} <= names.keys()
    for name, path in names.items():
        assert path.read_text().startswith("# "), "a header comment says what the scenario shows"
        if name != "mooncake_conversation":
            assert load_scenario(name).name == name


def test_a_scenario_that_needs_its_trace_says_so() -> None:
    with pytest.raises(InputError, match=r"line \d+: workload.trace: missing; give the file with --set"):
        load_scenario("mooncake_conversation")


def test_users_without_a_text_of_their_own_cannot_be_told_apart():
    with pytest.raises(InputError, match=r"3 users with user_tokens = 0 cannot be told apart"):
        load_scenario("prefix_caching", ["workload.prefixes.users=3", "workload.prefixes.user_tokens=0"])


def test_options_keep_the_order_in_which_they_were_given() -> None:
    """The order of a set differs from process to process, and so would the bytes of scenario.json."""
    for order in (("prompt_tokens", "output_tokens"), ("output_tokens", "prompt_tokens")):
        given = ", ".join(f"{name}=5" for name in order)
        scenario = load_scenario("quickstart", [f"workload.lengths={{source='fixed', {given}}}"])
        assert tuple(scenario.model_dump(mode="json")["workload"]["lengths"]) == ("source", *order)
