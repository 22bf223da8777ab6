"""[[pool]] tables: instances of several kinds behind one router, from the file to the result."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from llmsim import experiment
from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.experiment.instances import make_instances
from llmsim.latency import hardware
from llmsim.latency.host import Host
from llmsim.scenario import load_scenario

TEXT = """\
[workload]
requests = 30
arrivals = { process = "constant", rate_per_s = 20.0 }
lengths = { source = "fixed", prompt_tokens = 200, output_tokens = 10 }

[cluster]
gpu = "a100-sxm4-80gb"
block_size = 32

[host]
step_s = 0.25

[scheduler]
name = "chunked_prefill"
max_num_seqs = 8
max_num_batched_tokens = 512

[[pool]]
name = "plain"

[[pool]]
name = "big"
gpu = "h100-sxm-80gb"
tensor_parallel_size = 2
instances = 2
num_gpu_blocks = 77
latency = "roofline"
host = { sequence_s = 0.5 }
scheduler = { max_num_seqs = 3 }

[[pool]]
name = "old"

[pool.scheduler]
name = "fcfs"
max_num_seqs = 5
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "pools.toml"
    file.write_text(TEXT)
    return file


def test_a_pool_has_what_it_says_and_the_rest_of_cluster_scheduler_and_host(file):
    plain, big, again, old = make_instances(load_scenario(file))

    assert [spec.pool for spec in (plain, big, again, old)] == ["plain", "big", "big", "old"]
    assert {spec.role for spec in (plain, big, old)} == {"mixed"}
    a100 = hardware.load_gpu("a100-sxm4-80gb")
    llama = hardware.load_model("llama-3.1-8b")
    blocks, without_a_budget = (
        hardware.kv_blocks(
            a100, llama, gpu_memory_utilization=0.9, block_tokens=32, max_num_batched_tokens=budget, null_blocks=null
        )
        for budget, null in ((512, 1), (8192, 0))  # the old engine keeps no block for itself
    )
    assert (plain.num_gpu_blocks, big.num_gpu_blocks, old.num_gpu_blocks) == (blocks, 77, without_a_budget)
    assert {spec.block_tokens for spec in (plain, big, old)} == {32}
    assert isinstance(plain.latency, Host)
    assert isinstance(big.latency, Host)
    assert (plain.latency.step_s, plain.latency.sequence_s) == (0.25, 0.0)
    assert (big.latency.step_s, big.latency.sequence_s) == (0.25, 0.5)
    assert big.latency.gpu.step_time_s([(0, 2048)], 0, 0) < 0.5 * plain.latency.gpu.step_time_s([(0, 2048)], 0, 0)
    assert (plain.scheduler.max_num_seqs, plain.scheduler.max_num_batched_tokens) == (8, 512)
    assert (big.scheduler.max_num_seqs, big.scheduler.max_num_batched_tokens) == (3, 512)
    assert type(old.scheduler).__name__ == "Fcfs"
    assert old.scheduler.max_num_seqs == 5


def test_a_single_pool_in_a_table_is_the_cluster_itself(tmp_path, file):
    bare, one = tmp_path / "bare.toml", tmp_path / "one.toml"
    text = TEXT.partition("[[pool]]")[0]
    bare.write_text(text)
    one.write_text(text + '[[pool]]\nname = "only"\n')
    scores = [experiment.run(load_scenario(path)).score for path in (bare, one)]

    assert scores[0]["num_gpu_blocks"] == scores[1]["pools"]["only"]["num_gpu_blocks"]
    for name in ("requests", "ttft_s", "tbt_s", "output_tokens_per_s", "verdict"):
        assert scores[0][name] == scores[1][name]


def test_results_say_which_instance_belongs_to_which_pool(file, tmp_path, capsys):
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    score = json.loads((tmp_path / "out" / "score.json").read_text())
    requests = pq.read_table(tmp_path / "out" / "requests.parquet").to_pandas()

    assert [score["pools"][name]["instances"] for name in ("plain", "big", "old")] == [[0, 1], [1, 3], [3, 4]]
    assert "big: 2 x h100-sxm-80gb (TP2), max_num_seqs 3" in printed
    by_number = np.array(["plain", "big", "big", "old"])
    assert (requests["pool"] == by_number[requests["instance"]]).all()
    counts = requests["pool"].value_counts()
    assert {name: pool["requests"] for name, pool in score["pools"].items()} == counts.to_dict()
    assert sum(pool["output_tokens"] for pool in score["pools"].values()) == 300


def test_a_stored_result_is_read_back(file, tmp_path):
    scenario = load_scenario(file)
    result = experiment.run(scenario)
    with experiment.staged(tmp_path / "kept") as folder:
        experiment.write(result, folder)

    assert experiment.read_scenario(tmp_path / "kept") == scenario
    assert np.array_equal(
        experiment.read_record(tmp_path / "kept").requests["instance"], result.record.requests["instance"]
    )


def test_a_request_that_was_never_sent_has_no_pool(file, tmp_path):
    scenario = load_scenario(file, ["until_s=1.2", "clients.max_in_flight=1"])
    with experiment.staged(tmp_path / "kept") as folder:
        experiment.write(experiment.run(scenario), folder)
    requests = pq.read_table(tmp_path / "kept" / "requests.parquet").to_pandas()

    assert (requests["pool"].isna() == (requests["instance"] == -1)).all()
    assert requests["pool"].isna().any()


def test_keys_of_a_pool_are_set_by_its_name_or_number(file):
    by_name = load_scenario(file, ["pool.big.instances=5", "pool.old.scheduler.max_num_seqs=2"])

    assert by_name == load_scenario(file, ["pool.1.instances=5", "pool.2.scheduler.max_num_seqs=2"])
    assert len(make_instances(by_name)) == 7


def test_an_axis_of_a_sweep_may_be_the_key_of_a_pool(file, tmp_path, capsys):
    out = ("--jobs", "1", "--out", str(tmp_path / "swept"), "--json")
    assert main(["sweep", str(file), "--axis", "pool.big.instances=1,2", *out]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]

    assert [row["pool.big.instances"] for row in rows] == [1, 2]
    assert rows[0]["pools.big.requests"] == 10
    assert rows[1]["pools.big.requests"] == 8 + 7  # in turn: instances 1 and 2 of 4


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('gpu = "h100-sxm-80gb"', 'gpu = "h1000"', r"line 23: pool.1.gpu: no gpu profile named 'h1000'"),
        (
            "num_gpu_blocks",
            "num_gpu_block",
            r"line 26: pool.1.num_gpu_block: unknown key; did you mean 'num_gpu_blocks",
        ),
        ("sequence_s = 0.5", "seq_s = 0.5", r"line 28: pool.1.host.seq_s: unknown key; did you mean '"),
        ("max_num_seqs = 3", "max_seqs = 3", r"line 29: pool.1.scheduler.max_seqs: unknown key; did you mean 'max_n"),
        ('"fcfs"', '"fcfd"', r"line 35: pool.2.scheduler.name: unknown scheduler 'fcfd'; did you mean 'fcfs'"),
        ('name = "old"', 'name = "big"', r"line 18: pool: two pools are named 'big'; expected a name for each"),
        ('name = "old"', 'role = "decode"', r"line 31: pool.2.name: missing"),
        (
            'name = "old"',
            'name = "old"\nrole = "mix"',
            r"line 33: pool.2.role: unknown value 'mix'; did you mean 'mixed",
        ),
        ("max_num_seqs = 8", "max_seqs = 8", r"line 15: scheduler.max_seqs: unknown key"),
    ],
)
def test_bad_input_is_one_line_with_file_line_and_key(tmp_path, old, new, said):
    file = tmp_path / "bad.toml"
    file.write_text(TEXT.replace(old, new))

    with pytest.raises(InputError, match=rf"bad.toml, {said}") as error:
        make_instances(load_scenario(file))
    assert "\n" not in str(error.value)


def test_a_table_in_place_of_tables_is_told(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text('[pool]\nname = "one"\n')

    with pytest.raises(InputError, match=r"bad.toml, line 1: pool: .* expected tables \[\[pool\]\], one for each"):
        load_scenario(file)


def test_a_pool_that_is_not_there_is_told(file):
    with pytest.raises(InputError, match=r"^--set pool.bigg.instances: none is named 'bigg'; did you mean 'big'"):
        load_scenario(file, ["pool.bigg.instances=2"])
