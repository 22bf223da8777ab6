"""The short form of `python -m tests.hostile`: some of each, others each day outside CI. And that it can fail."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from pathlib import Path

import pytest

from llmsim.scenario import load_scenario
from tests.hostile import configurations, inputs, kills, limited

INPUTS, CONFIGURATIONS, OF_VLLM = 7, 4, 2
SEED = 0 if os.environ.get("CI") else random.randrange(1000)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="limits are set in forks"),
]


def test_bad_inputs_are_one_line_and_code_2(tmp_path: Path) -> None:
    """Those of stored results are left to the long form: the results would have to be made first."""
    limited.preload()
    faults = []
    for number, case in enumerate(itertools.islice(inputs.cases(SEED), INPUTS)):
        if case.stored is not None:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        case.lay_out(folder, tmp_path)
        ended = limited.command(case.words, folder)
        faults += [f"input {number} of seed {SEED} ({case.about}): {fault}" for fault in ended.faults()]
    assert faults == []


def test_configurations_agree_with_themselves_in_every_mode() -> None:
    drawn = configurations.configurations(1_000_000 * SEED)
    for number, scenario in itertools.islice(drawn, CONFIGURATIONS):
        assert configurations.disagreements(scenario) == [], f"configuration {number}"


def test_random_workloads_are_decided_by_vllms_rules() -> None:
    for seed in range(1_000_000 * SEED, 1_000_000 * SEED + OF_VLLM):
        assert configurations.disagreements_with_vllm(seed) == []


def test_the_same_seed_gives_the_same_inputs() -> None:
    one, two = (list(itertools.islice(inputs.cases(5), 18)) for _ in range(2))
    assert one == two
    assert {case.words[0] for case in one if case.words} >= {"run", "sweep", "score", "trace"}


@pytest.mark.parametrize("change", [kind for _, kinds in configurations.FEATURES for kind in kinds], ids=str)
def test_every_feature_is_one_that_a_scenario_knows(change: tuple[str, ...]) -> None:
    assert load_scenario("quickstart", change)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: 1 // 0, "a traceback: ZeroDivisionError"),
        (lambda: 3, "exit code 3"),
        (lambda: 2, "0 lines on stderr"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL) or 0, "ended by signal 9"),
        (lambda: print("error: odd") or 2, "bad input, and yet stdout"),
    ],
)
def test_the_harness_sees_what_must_not_be(tmp_path: Path, call: object, says: str) -> None:
    faults = limited.limited(call, tmp_path).faults()  # type: ignore[arg-type]
    assert any(fault.startswith(says) for fault in faults), faults


def test_the_harness_ends_what_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited, "MOST_WALL_S", 0.2)

    def sleep() -> int:
        time.sleep(60)
        return 0

    assert limited.limited(sleep, tmp_path).faults() == ["ended by signal 9 after 0.0 s of CPU"]


def test_the_harness_sees_what_a_kill_must_not_leave(tmp_path: Path) -> None:
    expected, found = tmp_path / "expected", tmp_path / "found"
    for place in (expected, found):
        (place / "out").mkdir(parents=True)
        (place / "out" / "score.json").write_text(f'{{"wall_s": {len(place.name)}}}')  # times may differ
        (place / "out" / "steps.parquet").write_bytes(b"one")
    assert kills.differences(expected, found) == []
    (found / "out" / "steps.parquet").write_bytes(b"two")
    (found / ".out-abcdefgh.part").mkdir()
    (expected / "out" / "requests.parquet").touch()
    assert kills.differences(expected, found) == [
        "out/requests.parquet is missing",
        ".out-abcdefgh.part is too many",
        "out/steps.parquet has other bytes",
    ]
