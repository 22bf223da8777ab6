"""What a scenario becomes: one set of parts, for runs, checks, benchmarks and validations alike."""

from __future__ import annotations

import numpy as np
import pytest

from llmsim import experiment
from llmsim.errors import InputError
from llmsim.scenario import load_scenario
from llmsim.scenario.cluster import OF_THE_WHOLE, ClusterTable, PoolTable
from llmsim.studies.validation.measured_run import MeasuredRun, predict
from llmsim.studies.validation.replay import Latencies
from llmsim.testing import workload

APART = tuple((float(i), 500, 20) for i in range(5))


def test_simulating_an_assembly_is_what_a_run_does():
    scenario = load_scenario("quickstart", ["workload.requests=50"])
    record = experiment.assemble(scenario).simulate()

    assert np.array_equal(record.requests["end_s"], experiment.run(scenario).record.requests["end_s"])


def test_given_requests_take_the_place_of_a_trace_that_cannot_be_read(tmp_path):
    (tmp_path / "broken.csv").write_text("not a trace\n")
    scenario = load_scenario("quickstart", [f"workload.trace={tmp_path / 'broken.csv'}"])

    assert len(experiment.assemble(scenario, workload=workload(*APART)).workload) == 5
    with pytest.raises(InputError, match=r"broken\.csv"):
        experiment.assemble(scenario)


@pytest.mark.parametrize(
    "change",
    ["cluster.gpu=a200", "cluster.router=rand", "scheduler.name=fcsf", "scheduler.max_nums=3", "host.profile=none"],
)
def test_a_check_refuses_what_a_run_would_refuse(change):
    scenario = load_scenario("quickstart", [change])
    refusals = []
    for refuse in (experiment.check, experiment.run):
        with pytest.raises(InputError) as caught:
            refuse(scenario)
        refusals.append(str(caught.value))

    assert refusals[0] == refusals[1]


def test_measured_requests_move_between_the_pools_of_a_disaggregated_scenario():
    nothing = np.empty(0)
    measured = MeasuredRun("by hand", workload(*APART), Latencies(nothing, nothing, nothing), 0)
    slow, fast = (
        predict(measured, load_scenario("disaggregated", [f"kv_transfer.bandwidth_gb_per_s={rate}"])).e2e_s
        for rate in (1, 100)
    )

    assert (slow > fast).all()


def test_a_pool_may_differ_from_the_cluster_in_every_key_but_those_of_the_whole():
    differing = set(ClusterTable.model_fields) - set(OF_THE_WHOLE)

    assert differing < set(PoolTable.model_fields)
    assert {key for key in PoolTable.model_fields if key in ClusterTable.model_fields} == differing
