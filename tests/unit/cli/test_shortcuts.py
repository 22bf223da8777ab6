"""Options with vLLM's names say what --set says, and nothing is ignored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmsim.cli.shortcuts import OF_PLAN, SCHEDULER, SEED, SHORTCUTS, as_changes, with_shortcuts
from llmsim.scenario import SloTable, load_scenario
from llmsim.scenario.vllm_names import VLLM_NAMES
from small_scenario import small

FILE = small("small")
GIVEN = {
    "--model": ("qwen3-8b", "cluster.model"),
    "--gpu": ("h100-sxm-80gb", "cluster.gpu"),
    "--instances": (2, "cluster.instances"),
    "--tensor-parallel-size": (2, "cluster.tensor_parallel_size"),
    "--request-rate": (3.5, "workload.arrivals.rate_per_s"),
    "--num-prompts": (30, "workload.requests"),
    "--max-concurrency": (5, "clients.max_in_flight"),
    "--max-num-batched-tokens": (512, "scheduler.max_num_batched_tokens"),
    "--max-num-seqs": (7, "scheduler.max_num_seqs"),
    "--scheduler": ("chunked_prefill", "scheduler.name"),
    "--seed": (9, "seed"),
}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(FILE)
    return "small.toml"


@with_shortcuts(SCHEDULER, SEED)
def verb(changes: list[str] | None = None) -> list[str]:
    return changes or []


def test_every_shortcut_says_what_set_says(small):
    short = {option.removeprefix("--").replace("-", "_"): value for option, (value, _) in GIVEN.items()}
    sets = [f"{key}={json.dumps(value)}" for value, key in GIVEN.values()]

    assert short.keys() | {"goodput"} == SHORTCUTS.keys() | SCHEDULER.keys() | SEED.keys()
    with_short = load_scenario(small, verb(changes=["name='x'"], **short, goodput="ttft:500 tpot:50"))
    assert with_short == load_scenario(small, [*sets, "name=x", "slo={ttft_s = 0.5, tpot_s = 0.05}"])
    assert with_short.slo == SloTable(ttft_s=0.5, tpot_s=0.05)


def test_a_shortcut_has_the_name_that_the_reference_gives_vllm():
    for name, short in SHORTCUTS.items():
        option = f"--{name.replace('_', '-')}"
        if short.key in VLLM_NAMES:
            assert option in VLLM_NAMES[short.key]


def test_goodput_in_milliseconds_replaces_the_whole_slo():
    (change,) = as_changes(SHORTCUTS, {"goodput": "itl:40,e2el:9000"}, [])

    slo = load_scenario("quickstart", [change]).slo
    assert (slo.ttft_s, slo.tbt_s, slo.tpot_s, slo.e2e_s) == (None, 0.04, None, 9.0)


def test_a_plan_chooses_among_several():
    assert as_changes(OF_PLAN, {"gpu": "a100, h100", "tensor_parallel_size": "1,2"}, []) == [
        'plan.gpus=["a100", "h100"]',
        "plan.tensor_parallel_sizes=[1, 2]",
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--goodput", "ttfd:5"], "--goodput ttfd:5: unknown bound; did you mean 'ttft'?"),
        (["run", "--goodput", "ttft"], "--goodput ttft: expected NAME:MILLISECONDS, such as ttft:500"),
        (["run", "--goodput", " "], "--goodput: expected bounds in milliseconds"),
        (["run", "--request-rate", "inf"], "--request-rate inf: expected a number above 0"),
        (["run", "--goodput", "ttft:1", "--set", "slo.ttft_s=1"], "--goodput and --set slo=… exclude each other"),
        (["sweep", "--gpu", "x", "--axis", "cluster.gpu=y,z"], "cluster.gpu"),
        (["compare", "--schedulers", "fcfs,static", "--max-num-seqs", "0"], "max_num_seqs is 0"),
        (["plan", "--tp", "one"], "--tensor-parallel-size one: expected whole numbers, with commas"),
        (
            ["run", "--set", "workload.request_rate=3"],
            "unknown key for synthetic workload; did you mean 'workload.arrivals.rate_per_s'?",
        ),
        (["run", "--set", "workload.num_prompts=3"], "did you mean 'workload.requests'?"),
        (["run", "--set", "cluster.max_num_seqs=3"], "did you mean 'scheduler.max_num_seqs'?"),
        (["run", "--set", "cluster.tp=3"], "did you mean 'tensor_parallel_size'?"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_way_out(words, says, small, refused):
    assert says in refused(words[0], small, *words[1:])


MINE = """\
from dataclasses import dataclass
from llmsim.latency.sources.constant import Constant
@dataclass(frozen=True)
class Mine(Constant):
    step_s: float = {step_s}
"""


def test_compare_and_plan_take_step_times_from_a_file(small, run_cli):
    """Compared or planned for with the file, tokens take the step that it says."""
    Path("mine.py").write_text(MINE.format(step_s=0.05))
    asked = ("compare", small, "--schedulers", "chunked_prefill,fcfs", "--json")
    compared = json.loads(run_cli(*asked, "--latency-file", "mine.py"))
    planned = ("plan", small, "--set", "plan.targets=['tpot_s.p50 <= 0.03']", "--num-prompts", 500, "--json")
    planned += ("--set", "plan.most_instances=1", "--set", "plan.most_requests=500", "--set", "plan.most_seeds=4")

    rows = {row["metric"]: row for row in compared["against"][0]["differences"]}
    assert rows["tpot_s.mean"]["first"] == pytest.approx(0.05)
    answer = json.loads(run_cli(*planned, "--latency-file", "mine.py"))
    assert answer["candidates"][0]["step_times"] == "Mine, as given"
    assert answer["candidates"][0]["neighbour"]["reason"].endswith("(the fastest takes 0.05 s, the median 0.05)")
