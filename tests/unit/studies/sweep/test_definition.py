from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import llmsim
from llmsim.errors import InputError
from llmsim.experiment import make_workload
from llmsim.experiment.own_files import OwnFiles
from llmsim.latency.hardware import profiles_dir
from llmsim.scenario import load_scenario
from llmsim.studies.sweep import read_sweep
from llmsim.studies.sweep.axes import Range
from llmsim.studies.sweep.point_keys import UNREAD_ROOMS, files_of
from llmsim.studies.sweep.point_run import run_task, task_of
from llmsim.workload.streams import streams
from places import HARDWARE_PROFILES

PACKAGE = Path(llmsim.__file__).resolve().parent
TEXT = """\
name = "small"
seed = 7
[workload]
requests = 20
arrivals = { process = "poisson", rate_per_s = 4.0 }
lengths = { source = "sharegpt" }
[cluster]
latency = "roofline"
[sweep]
"workload.arrivals.rate_per_s" = [2, 4.5]
"scheduler.name" = ["fcfs", "chunked_prefill"]
seeds = 2
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(TEXT)
    return path


def message(file: Path, *axes: str, changes: tuple[str, ...] = (), replace: tuple[str, str] = ("", "")) -> str:
    file.write_text(TEXT.replace(*replace))
    with pytest.raises(InputError) as caught:
        read_sweep(file, changes, axes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_points_are_the_product_of_axes_and_seeds_with_the_last_moving_fastest(file: Path) -> None:
    sweep = read_sweep(file)

    found = [(*point.axes.values(), point.scenario.seed) for point in sweep.points]
    assert found == list(product([2, 4.5], ["fcfs", "chunked_prefill"], [7, 8]))
    assert sweep.points[3].name == "workload.arrivals.rate_per_s=2, scheduler.name=chunked_prefill, seed=8"
    assert sweep.points[3].scenario.scheduler.name == "chunked_prefill"
    assert len({point.key for point in sweep.points}) == 8


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"start": 1, "stop": 4, "step": 1}, (1, 2, 3, 4)),
        ({"start": 1, "stop": 6, "step": 2}, (1, 3, 5)),
        ({"start": 0.1, "stop": 0.3, "step": 0.1}, (0.1, 0.2, 0.3)),
        ({"start": 4, "stop": 1, "step": -1}, (4, 3, 2, 1)),
        ({"start": 1, "stop": 2, "num": 3}, (1.0, 1.5, 2.0)),
        ({"start": 256, "stop": 4096, "num": 5, "spacing": "geometric"}, (256, 512, 1024, 2048, 4096)),
        ({"start": 1, "stop": 100, "num": 2, "spacing": "geometric"}, (1, 100)),
        ({"start": 3, "stop": 3, "num": 1}, (3,)),
    ],
)
def test_ranges(given: dict[str, object], expected: tuple[float, ...]) -> None:
    values = Range.model_validate(given).values()

    assert values == expected
    assert [type(value) for value in values] == [type(value) for value in expected]


def test_fields_that_are_zipped_move_together(file: Path) -> None:
    zipped = '[[sweep.zip]]\n"cluster.gpu" = ["a100-sxm4-80gb", "h100-sxm-80gb"]\n"cluster.instances" = [4, 2]\n'
    file.write_text(TEXT + zipped)

    sweep = read_sweep(file, axes=["workload.arrivals.rate_per_s=[1]"], seeds=1)

    assert [
        (p.scenario.scheduler.name, p.scenario.cluster.gpu, p.scenario.cluster.instances) for p in sweep.points
    ] == [
        ("fcfs", "a100-sxm4-80gb", 4),
        ("fcfs", "h100-sxm-80gb", 2),
        ("chunked_prefill", "a100-sxm4-80gb", 4),
        ("chunked_prefill", "h100-sxm-80gb", 2),
    ]
    assert sweep.fields == ("scheduler.name", "cluster.gpu", "cluster.instances", "workload.arrivals.rate_per_s")


def test_axes_of_the_command_line_come_in_four_spellings_and_replace_those_of_the_file(file: Path) -> None:
    for text in ("1,2,3", "[1, 2, 3]", "{start=1, stop=3, step=1}", "{ start = 1, stop = 3, num = 3 }"):
        sweep = read_sweep(file, axes=["scheduler.name=fcfs", f"workload.arrivals.rate_per_s={text}"])

        assert [(p.axes["workload.arrivals.rate_per_s"], p.scenario.seed) for p in sweep.points] == list(
            product([1, 2, 3], [7, 8])
        )


def test_unquoted_dotted_keys_mean_the_same(file: Path) -> None:
    quoted = read_sweep(file)
    file.write_text(TEXT.replace('"workload.arrivals.rate_per_s"', "workload.arrivals.rate_per_s"))

    assert [point.key for point in read_sweep(file).points] == [point.key for point in quoted.points]


def test_bad_axes_are_refused_with_their_place_before_anything_runs(file: Path) -> None:
    rate, line = '"workload.arrivals.rate_per_s" = [2, 4.5]', f"{file}, line 10: "
    assert message(file, replace=('rate_per_s" = [2', 'rate_per" = [2')) == (
        f"{line}workload.arrivals.rate_per: unknown key for poisson arrivals; did you mean 'rate_per_s'?"
    )
    assert message(file, replace=("[2, 4.5]", "[2, -1]")).startswith(
        f"{line}workload.arrivals.rate_per_s: -1: expected"
    )
    assert message(file, replace=("[2, 4.5]", "4.5")).startswith(
        f"{line}sweep.workload.arrivals.rate_per_s: 4.5: expected"
    )
    assert message(file, replace=("[2, 4.5]", "[]")).startswith(f"{line}sweep.workload.arrivals.rate_per_s: no values")
    assert message(file, replace=("[2, 4.5]", "[2, 2.0]")).endswith("2.0 comes twice")
    assert "did you mean 'stop'?" in message(file, replace=("[2, 4.5]", "{ start = 1, stp = 4, num = 2 }"))
    assert "never leads" in message(file, replace=("[2, 4.5]", "{ start = 1, stop = 4, step = -1 }"))
    assert "geometric" in message(file, replace=("[2, 4.5]", '{ start = 0, stop = 4, num = 3, spacing = "geometric" }'))
    assert "did you mean 'fcfs'?" in message(file, "scheduler.name=fcf")
    assert message(file, "cluster.instances=1.5,2").startswith("command line: cluster.instances: 1.5: expected")
    assert "seeds = 5" in message(file, "seed=1,2")
    assert "--axis KEY=VALUES and --seeds N" in message(file, changes=("sweep.seeds=0",))
    assert "also given by --set" in message(file, changes=("workload.arrivals.rate_per_s=3",))
    assert "also given by the axis" in message(file, "workload.arrivals=[{}]")
    assert "nothing to sweep" in message(file, replace=(TEXT[TEXT.index("[sweep]") :], ""))
    assert "expected KEY=VALUES" in message(file, "cluster.instances")
    assert "equally many" in message(file, replace=(rate, rate + "\nzip = { name = ['a'], until_s = [1, 2] }"))
    assert f"{file}, line 12: sweep.seeds: 0" in message(file, replace=("seeds = 2", "seeds = 0"))
    assert "1,000,000" in message(file, "until_s={start=1, stop=90000, step=1}", replace=("seeds = 2", "seeds = 5"))


def test_a_sweep_table_is_no_part_of_the_scenario_and_a_misspelt_one_is_told(file: Path) -> None:
    scenario = load_scenario(file)

    assert scenario.seed == 7
    file.write_text(TEXT.replace("[sweep]", "[sweeep]"))
    with pytest.raises(InputError, match="sweeep: unknown key; did you mean 'sweep'"):
        load_scenario(file)


def test_a_seed_gives_every_point_the_same_requests(file: Path) -> None:
    drawn = {}
    for point in read_sweep(file).points:
        rate, scheduler = point.axes.values()
        drawn[scheduler, rate, point.scenario.seed] = make_workload(point.scenario, streams(point.scenario.seed))

    for rate, seed in product([2, 4.5], [7, 8]):
        one, other = drawn["fcfs", rate, seed], drawn["chunked_prefill", rate, seed]
        assert np.array_equal(one.arrival_s, other.arrival_s)
        assert np.array_equal(one.output_tokens, other.output_tokens)
    slow, fast, another = drawn["fcfs", 2, 7], drawn["fcfs", 4.5, 7], drawn["fcfs", 2, 8]
    assert np.array_equal(slow.prompt_tokens, fast.prompt_tokens)
    assert slow.arrival_s * 2 == pytest.approx(fast.arrival_s * 4.5, rel=1e-12)
    assert not np.array_equal(slow.prompt_tokens, another.prompt_tokens)


def test_a_key_changes_with_whatever_the_numbers_depend_on_and_with_nothing_else(file: Path, tmp_path: Path) -> None:
    def keys(*axes: str, changes: tuple[str, ...] = ()) -> list[str]:
        return [point.key for point in read_sweep(file, changes, ["scheduler.name=fcfs", *axes], seeds=1).points]

    before = keys()
    assert keys("workload.arrivals.rate_per_s=4.5,2") == before[::-1]
    assert keys("cluster.instances=1") == before  # the default, spelt out
    assert not set(keys(changes=("slo.ttft_s=2",))) & set(before)


def test_the_content_of_files_is_part_of_a_key_and_their_place_is_not(tmp_path: Path) -> None:
    rows = "arrival_s,prompt_tokens,output_tokens\n0.5,100,10\n"
    policy = tmp_path / "policy.py"
    policy.write_text("from llmsim.schedulers.fcfs import Fcfs\n\nclass Mine(Fcfs):\n    pass\n")
    gpu = HARDWARE_PROFILES / "gpus/a100-sxm4-80gb.toml"
    for name in ("one.csv", "same.csv"):
        (tmp_path / name).write_text(rows)
    (tmp_path / "gpu.toml").write_text(gpu.read_text())

    def key(trace: str) -> str:
        changes = [f"workload.trace={tmp_path / trace}", f"cluster.gpu={tmp_path / 'gpu.toml'}"]
        return read_sweep("quickstart", changes, ["cluster.instances=1"], files=OwnFiles(policy)).points[0].key

    first = key("one.csv")
    assert first == key("same.csv")
    (tmp_path / "one.csv").write_text(rows.replace("100", "101"))
    assert key("one.csv") != first
    policy.write_text(policy.read_text() + "# another\n")
    second = key("same.csv")
    assert second != first
    (tmp_path / "gpu.toml").write_text(gpu.read_text().replace("memory_bytes = 8", "memory_bytes = 7"))
    assert key("same.csv") not in (first, second)


def test_every_file_that_a_run_opens_is_part_of_its_key(tmp_path: Path) -> None:
    """The interpreter tells which files are opened; those of the package are hashed as its code."""
    policy, trace = tmp_path / "policy.py", tmp_path / "t.csv"
    policy.write_text("from llmsim.schedulers.fcfs import Fcfs\n\nclass Mine(Fcfs):\n    pass\n")
    trace.write_text("arrival_s,prompt_tokens,output_tokens\n0.5,100,10\n")
    host = tmp_path / "host.toml"
    host.write_text('name = "mine"\nstep_s = 0.001\nprovenance = { source = "a test", date = "2026-01-01" }\n')
    changes = [f"workload.trace={trace}", f"host.profile={host}"]
    point = read_sweep("quickstart", changes, ["cluster.instances=1"], files=OwnFiles(policy)).points[0]
    opened: set[Path] = set()
    watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str | Path):
            opened.add(Path(arguments[0]).resolve())

    sys.addaudithook(watch)
    run_task(task_of(point, OwnFiles(policy)))
    watching = False

    data = {file for file in opened if file.suffix in (".toml", ".json", ".csv", ".jsonl", ".gz")}
    data -= {file for file in data if PACKAGE in file.parents and "_data" not in file.parts}
    assert data <= {file.resolve() for file in files_of(point.scenario, OwnFiles(policy)).values()}
    assert {trace, host, profiles_dir() / "steps/a100-sxm4-80gb/llama-3.1-8b-tp1.json"} <= data


def test_what_stands_apart_of_runs_is_there() -> None:
    """A room that was moved or renamed would count for runs that it has nothing to do with."""
    assert all((PACKAGE / name).exists() for name in UNREAD_ROOMS)
