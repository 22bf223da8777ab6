"""Engines by name: what each sets, what it leaves to the scenario, and what depends on the GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.experiment import make_host
from llmsim.experiment.instances import make_instances
from llmsim.scenario import ClusterTable, Scenario, load_scenario
from llmsim.scenario.engines import ENGINES
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.fcfs import Fcfs
from llmsim.schedulers.sglang import Sglang

NO_NAME = "scheduler.name=null"  # quickstart names one


def of(engine: str, gpu: str = "h100-sxm-80gb", *changes: str) -> Scenario:
    """A scenario on one instance of an engine that says little else."""
    return load_scenario("quickstart", [NO_NAME, f"cluster.engine={engine}", f"cluster.gpu={gpu}", *changes])


# ENGINES.md, from vllm/engine/arg_utils.py: 70 and 160 GiB of memory, and never an A100
@pytest.mark.parametrize(
    ("engine", "gpu", "budget", "seats"),
    [
        ("vllm-0.33", "h100-sxm-80gb", 8192, 1024),
        ("vllm-0.33", "h200-sxm", 8192, 1024),
        ("vllm-0.33", "b200-sxm", 16384, 1024),
        ("vllm-0.33", "a100-sxm4-80gb", 2048, 256),
        ("vllm-0.33", "l40s", 2048, 256),
        ("vllm-0.11", "h100-sxm-80gb", 8192, 1024),
        ("vllm-0.11", "b200-sxm", 8192, 1024),
        ("vllm-0.15", "a100-sxm4-80gb", 2048, 256),
    ],
)
def test_budget_and_seats_by_memory(engine: str, gpu: str, budget: int, seats: int) -> None:
    (spec,) = make_instances(of(engine, gpu))
    assert spec.scheduler == ChunkedPrefill(budget, seats)


def test_versions_differ_in_scheduling_memory_and_caching() -> None:
    specs = {name: make_instances(of(name))[0] for name in ENGINES}
    asynchronous = {"vllm-0.33", "vllm-0.15", "vllm-0.14", "sglang-0.5.23"}
    assert {name for name, spec in specs.items() if spec.async_scheduling} == asynchronous
    assert {name for name, spec in specs.items() if not spec.prefix_caching} == {"vllm-0.5.3"}
    assert specs["vllm-0.5.3"].scheduler == Fcfs()
    assert specs["sglang-0.5.23"].block_tokens == 1
    assert isinstance(specs["sglang-0.5.23"].scheduler, Sglang)
    assert specs["vllm-0.33"].num_gpu_blocks > specs["vllm-0.15"].num_gpu_blocks  # 0.92 and 0.9 of the memory


def test_what_a_scenario_says_goes_first() -> None:
    changes = ("scheduler.max_num_seqs=64", "scheduler.async_scheduling=false", "cluster.prefix_caching=false")
    (spec,) = make_instances(of("vllm-0.33", "h100-sxm-80gb", *changes))
    assert (spec.scheduler, spec.async_scheduling, spec.prefix_caching) == (ChunkedPrefill(8192, 64), False, False)
    (spec,) = make_instances(of("vllm-0.33", "h100-sxm-80gb", "scheduler.max_num_batched_tokens=512"))
    assert spec.scheduler == ChunkedPrefill(512, 512)  # no more seats than tokens
    (spec,) = make_instances(of("vllm-0.33", "h100-sxm-80gb", "scheduler.name=fcfs"))
    assert spec.scheduler == Fcfs()  # not its own scheduler, and so with defaults of its own


def test_each_pool_has_the_budget_of_its_gpu() -> None:
    scenario = load_scenario("heterogeneous", ["cluster.engine=vllm-0.33", NO_NAME])
    found = {cluster.gpu: make_instances(scenario)[i].scheduler for i, (_, cluster) in enumerate(scenario.pools)}
    assert all(getattr(one, "max_num_seqs", 0) == (256 if "a100" in gpu else 1024) for gpu, one in found.items())


def test_a_kept_scenario_is_the_same_one(tmp_path: Path) -> None:
    scenario = of("vllm-0.33")
    kept = tmp_path / "scenario.json"
    kept.write_text(scenario.model_dump_json())
    again = load_scenario(kept)
    assert again == scenario
    (spec,), (same,) = make_instances(scenario), make_instances(again)
    assert (spec.scheduler, spec.num_gpu_blocks, spec.async_scheduling) == (ChunkedPrefill(8192, 1024), 28692, True)
    assert (same.scheduler, same.num_gpu_blocks, same.async_scheduling) == (ChunkedPrefill(8192, 1024), 28692, True)

    scenario = of("sglang-0.5.23")
    kept.write_text(scenario.model_dump_json())
    assert load_scenario(kept) == scenario


def test_in_python_as_in_a_file() -> None:
    scenario = Scenario(cluster=ClusterTable(engine="vllm-0.5.3", block_size=32))
    assert (scenario.cluster.block_size, scenario.scheduler.name) == (32, "fcfs")


def test_an_unknown_engine_is_told_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"cluster\.engine: unknown engine 'vllm-0\.3'; did you mean 'vllm-0\.33'\?"):
        of("vllm-0.3")


def test_outputs_say_whose_rules_they_rest_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--set", "cluster.engine=vllm-0.15", "--set", "workload.requests=20"]
    assert main(["run", "quickstart", *changes, "--out", str(tmp_path / "run"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["choices"]["engine"]
    assert said == "rules and defaults of vLLM 0.15; 2048 tokens a step, 256 seats, prefix caching, asynchronous"


def test_host_times_by_engine() -> None:
    """Those of the version that was measured; of an engine that was not, a line says so."""
    asynchronous = make_host(of("vllm-0.33", "h100-sxm-80gb", "host.profile=auto"))
    assert asynchronous.serial_step_s > 0
    assert asynchronous.step_s == 0
    assert make_host(of("vllm-0.11", "h100-sxm-80gb", "host.profile=auto")).step_s > 0
    with pytest.raises(InputError, match=r"host\.profile: auto: no host times were fitted for sglang-0\.5\.23"):
        make_host(of("sglang-0.5.23", "h100-sxm-80gb", "host.profile=auto"))
    with pytest.raises(InputError, match=r"auto: picked by cluster\.engine, which is not given"):
        make_host(load_scenario("quickstart", ["host.profile=auto"]))
