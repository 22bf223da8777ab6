"""Predicted output lengths: what policies are told, that it moves nothing else, and that the truth is out of reach."""

from __future__ import annotations

import gc
import json
import types
from dataclasses import replace

import numpy as np
import pytest

from llmsim import experiment
from llmsim.engine.speculation.rule import Speculation
from llmsim.errors import InputError
from llmsim.reports.tables.run_tables import show_run
from llmsim.scenario import load_scenario
from llmsim.scheduler import Scheduler
from llmsim.schedulers.chunked_prefill import ChunkedPrefill
from llmsim.schedulers.shortest_predicted_first import ShortestPredictedFirst
from llmsim.testing import LinearSteps, serve, with_guesses, workload
from llmsim.workload.acceptance import draw, draw_steps
from llmsim.workload.prediction import predict, representatives

SMALL = ["workload.requests=60", "cluster.num_gpu_blocks=4000"]
NOISY = ["prediction.predictor=noisy", "prediction.sigma=0.8"]


def told(n=100_000, length=400, **predictor):
    return predict(np.random.default_rng(3), np.full(n, length), **predictor)


def test_noise_is_unbiased_in_the_median_and_long_in_the_mean():
    """Of a log-normal factor of median 1: half above, a mean of exp(sigma² / 2), and sigma as spread of logarithms."""
    noisy = told(predictor="noisy", sigma=0.5)

    assert np.mean(noisy > 400) == pytest.approx(0.5, abs=0.01)
    assert noisy.mean() == pytest.approx(400 * np.exp(0.125), rel=0.01)
    assert np.log(noisy / 400).std() == pytest.approx(0.5, rel=0.01)


def test_the_dial_scales_the_same_errors():
    small, large = (np.log(told(1_000, 10**6, predictor="noisy", sigma=sigma) / 1e6) for sigma in (0.25, 0.5))

    assert large == pytest.approx(2 * small, abs=1e-4)
    assert told(100, predictor="noisy", sigma=0.0).tolist() == [400] * 100
    assert told(100, predictor="oracle").tolist() == [400] * 100
    assert told(100, predictor="none") is None
    assert told(1_000, 1, predictor="noisy", sigma=5.0).min() == 1


def test_buckets_by_hand():
    """Buckets 1-4, 5-100, 101 and longer: sqrt(1 * 4) = 2, sqrt(5 * 100) = 22.4, and 101."""
    lengths = np.array([1, 4, 5, 100, 101, 5000])

    assert representatives([4, 100]).tolist() == [2, 22, 101]
    got = predict(np.random.default_rng(0), lengths, predictor="bucketed", edges_tokens=[4, 100])
    assert got.tolist() == [2, 2, 22, 22, 101, 101]
    wrong = predict(np.random.default_rng(0), np.full(1000, 50), predictor="bucketed", edges_tokens=[4, 100], sigma=2)
    assert set(wrong.tolist()) == {2, 22, 101}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"predictor": "oracel"}, "did you mean 'oracle'"),
        ({"predictor": "noisy", "sigma": -1.0}, "sigma"),
        ({"predictor": "bucketed"}, "edges_tokens"),
        ({"predictor": "bucketed", "edges_tokens": [10, 10]}, "each above the one before"),
    ],
)
def test_nonsense_is_refused(options, says):
    with pytest.raises(InputError, match=says):
        told(10, **options)


def scored(*changes):
    return experiment.run(load_scenario("quickstart", [*SMALL, *changes]))


def test_predictions_move_nothing_else():
    """Common random numbers: the same arrivals, lengths and times, and one column more."""
    drawing = ["cluster.instances=3", "cluster.router=random", "patience.first_token.mean_s=1.0"]
    without, noisy = scored(*drawing), scored(*drawing, *NOISY)

    assert set(noisy.record.requests) - set(without.record.requests) == {"predicted_output_tokens"}
    for name, column in without.record.requests.items():
        assert np.array_equal(column, noisy.record.requests[name], equal_nan=True), name
    assert "prediction" not in without.score


def test_fewer_requests_are_the_first_of_more():
    few, many = scored(*NOISY, "workload.requests=20"), scored(*NOISY)
    column = "predicted_output_tokens"

    assert few.record.requests[column].tolist() == many.record.requests[column][:20].tolist()


@pytest.mark.parametrize(
    ("changes", "oracle", "says"),
    [
        (["prediction.predictor=oracle"], True, "ORACLE"),
        (["prediction.predictor=noisy", "prediction.sigma=0"], True, "ORACLE"),
        (NOISY, False, "log-normal errors, sigma 0.8"),
        (["prediction.predictor=bucketed", "prediction.edges_tokens=[64, 256]"], False, "3 buckets, never the wrong"),
    ],
)
def test_an_oracle_says_so_in_every_output(changes, oracle, says, tmp_path, capsys):
    result = scored(*changes)
    experiment.write(result, tmp_path)
    show_run(result, None)
    error = np.abs(result.record.requests["predicted_output_tokens"] - result.record.requests["output_tokens"])
    kept = json.loads((tmp_path / "score.json").read_text())["prediction"]

    assert kept["oracle"] is oracle
    assert kept["mean_absolute_error_tokens"] == pytest.approx(error.mean())
    assert says in " ".join(capsys.readouterr().out.split())
    again = experiment.read_record(tmp_path)
    assert again.requests["predicted_output_tokens"].tolist() == (
        result.record.requests["predicted_output_tokens"].tolist()
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            ["scheduler.name=shortest_predicted_first"],
            "shortest_predicted_first needs predicted output lengths; expected",
        ),
        (["prediction.predictor=nosy"], "did you mean 'noisy'"),
        (["prediction.sigma=1"], "prediction.predictor: missing"),
        (["prediction.predictor=noisy"], "prediction.sigma: missing"),
        (["prediction.predictor=noisy", "prediction.sigma=9"], "prediction.sigma: 9"),
        (["prediction.predictor=bucketed", "prediction.edges_tokens=[5, 5]"], "must grow"),
        (["prediction.predictor=oracle", "prediction.sigma=1"], "unknown key"),
    ],
)
def test_bad_scenarios_are_told_in_a_line(changes, says):
    with pytest.raises(InputError, match=says.replace("[", r"\[")) as error:
        experiment.check(load_scenario("quickstart", changes))

    assert "\n" not in str(error.value)


def test_a_scheduler_that_needs_predictions_does_not_run_without():
    with pytest.raises(InputError, match="ShortestPredictedFirst needs predicted output lengths"):
        serve(workload((0.0, 10, 5)), ShortestPredictedFirst())


#: types from which the truth can be reached
TRUTHFUL = ("Instance", "Loop", "RequestStates", "Workload", "Recorder", "Cluster", "ndarray", "Draws", "Generator")


class Curious(Scheduler):
    """Looks at everything that can be reached from what it is given, by any attribute, private ones included."""

    asks_every_step = True
    honours_speculation = True

    def __init__(self, secret):
        self.secret = secret
        self.found = []
        self.seen = 0

    def schedule(self, view):
        for thing in reachable(view):
            self.seen += 1
            if isinstance(thing, int) and not isinstance(thing, bool) and thing in self.secret:
                self.found.append(thing)
            if type(thing).__name__ in TRUTHFUL:
                self.found.append(thing)
        return ChunkedPrefill().schedule(view)


def reachable(root):
    """Yield every object that the garbage collector knows to be held by another, but for code and classes."""
    code = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType)
    seen, open_ = {id(root)}, [root]
    while open_:
        thing = open_.pop()
        yield thing
        for inner in gc.get_referents(thing):
            if id(inner) not in seen and not isinstance(inner, code):
                seen.add(id(inner))
                open_.append(inner)


@pytest.mark.parametrize("speculates", [None, draw])
@pytest.mark.parametrize("async_scheduling", [False, True])
@pytest.mark.parametrize("stretches", [True, False])
def test_no_path_leads_from_a_view_to_the_truth(stretches, async_scheduling, speculates):
    """True lengths of a million and more, which nothing else in the run comes near, are nowhere to be found."""
    secret = set(range(1_000_000, 1_000_020))
    guessed = with_guesses(workload(*((0.01 * k, 20, 1_000_000 + k) for k in range(20))))
    requests = replace(guessed, asked=None)  # what clients declare is no secret
    options = {"stretches": stretches, "async_scheduling": async_scheduling}
    if speculates:
        options["speculation"] = Speculation(((1, 3),), 0, {3: LinearSteps()})
        lengths = [[100, 150, 190, 220]]
        requests = replace(
            requests, acceptance=speculates(np.random.default_rng(0), lengths, np.zeros(20, np.int64), 3)
        )
    policy = Curious(secret)
    serve(requests, policy, num_gpu_blocks=100_000, max_model_len=2_000_000, until_s=0.5, **options)

    assert policy.found == []
    assert policy.seen > 1000


def test_no_path_leads_from_a_view_to_what_steps_will_yield():
    requests = with_guesses(workload(*((0.01 * k, 20, 60) for k in range(20))))
    steps = draw_steps(np.random.default_rng(0), [[100, 150, 190, 220]], np.zeros(20, np.int64), 3)
    policy = Curious(set())
    options = {"speculation": Speculation(((1, 3),), 0, {3: LinearSteps()}), "prefix_caching": True}
    serve(replace(requests, acceptance=steps), policy, until_s=0.5, **options)
    assert {type(thing).__name__ for thing in policy.found} <= {"ndarray"}  # prefixes of prompts
    assert policy.seen > 1000


def test_the_search_finds_a_truth_that_lies_about():
    class View:
        def __init__(self):
            self._hidden = {"deep": [(1, [1_000_007])]}

    assert 1_000_007 in [thing for thing in reachable(View()) if isinstance(thing, int)]
