from __future__ import annotations

import json
import os
import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from llmsim.cli import main
from llmsim.errors import LlmsimError
from llmsim.experiment import run
from llmsim.studies.bench import shipped, speed_tables, suites, trace_reading
from llmsim.studies.bench.speed import (
    Measurement,
    Progress,
    StretchSpeed,
    compare_stretches,
    in_own_process,
    measure,
    timeouts_per_s,
)
from llmsim.studies.bench.workloads import AZURE_CONV_CAPACITY_PER_S, azure_conv

KEYS = {"requests_per_s", "steps_per_s", "tokens_per_s", "peak_bytes", "wall_s", "requests", "steps", "per_timeout"}


def quietly(ended: int, total: int) -> None:
    pass


def test_bench_prints_the_agreed_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "fixed", "--json", "--requests", "100", "--repeat", "1"]) == 0
    out = json.loads(capsys.readouterr().out)

    assert out.keys() == {"simpy_timeouts_per_s", "workloads"}
    assert out["workloads"].keys() == {"fixed"}
    fixed = out["workloads"]["fixed"]
    assert fixed.keys() >= KEYS
    assert fixed["requests"] == 100
    assert fixed["tokens"] == 100 * 256
    assert fixed["requests_per_s"] == pytest.approx(fixed["requests"] / fixed["wall_s"])
    assert fixed["per_timeout"] == pytest.approx(fixed["requests_per_s"] / out["simpy_timeouts_per_s"])
    assert 10e6 < fixed["peak_bytes"] < 2**30


def test_every_workload_is_a_scenario_that_runs() -> None:
    found, skipped = suites.scenarios(suites.known(["all"]), None, 20, skip=True)

    assert [*found, *skipped] == list(suites.WORKLOADS)
    assert {name: run(scenario).record.requests["outcome"].size for name, scenario in found.items()} == dict.fromkeys(
        found, 20
    )


def test_mooncake_is_skipped_with_a_reason_unless_asked_for() -> None:
    found, skipped = suites.scenarios(suites.known([]), None, 10, skip=True)

    assert list(found) == ["fixed", "azure-conv", "overload", "fcfs", "sessions", "sessions-128-turns"]
    assert "--trace" in skipped["mooncake"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mooncake"], "bench mooncake: needs --trace FILE"),
        (["mooncake", "--trace", "nothing.jsonl"], "--trace nothing.jsonl: no such trace file"),
        (["mooncake", "--trace", "."], "--trace .: is a folder, expected a trace file"),
        (["fixed", "--requests", "1000000001"], "--requests': Input should be less than or equal to 1000000000"),
        (["scale", "--requests", "1000"], "1000 requests say nothing of scale, expected at least 100,000"),
        (["stretches", "--repeat", "9"], "--repeat: stretches are compared once"),
        (["fixd"], "unknown workload 'fixd'; did you mean 'fixed'?"),
        (["--repeat", "0"], "repeat"),
        (["peers", "fixed"], "bench peers: runs another simulator beside this one; run it by itself"),
        (["peers", "--peer", "nothing"], "bench peers: needs AISimulate, and nothing is no command: pip install --pre"),
        (["fixed", "--peer", "aisimulate"], "--peer: only for bench peers"),
    ],
)
def test_bad_input_of_bench_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    err = capsys.readouterr().err

    assert says in err
    assert err.count("\n") == 1


def dies(*, progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hears_ctrl_c(*, progress: Progress) -> bool:
    os.kill(os.getpid(), signal.SIGINT)
    return False


def test_a_process_that_dies_is_told_in_a_line() -> None:
    with pytest.raises(LlmsimError, match="the process that was measured has died"):
        in_own_process(dies, progress=quietly)


def test_ctrl_c_is_not_for_the_process_that_is_measured() -> None:
    assert in_own_process(hears_ctrl_c, progress=quietly) is False


def test_bench_reads_a_trace(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    rows = [{"timestamp": 1000 * i, "input_length": 50, "output_length": 7, "hash_ids": [0]} for i in range(20)]
    trace.write_text("\n".join(map(json.dumps, rows)))
    found, skipped = suites.scenarios(["mooncake"], trace, 15, skip=False)
    measured = measure(found["mooncake"], progress=quietly)

    assert not skipped
    assert (measured.requests, measured.tokens) == (15, 15 * 7)


def test_progress_counts_all_repeats() -> None:
    heard: list[tuple[int, int]] = []
    measure(azure_conv(600), repeat=2, progress=lambda ended, total: heard.append((ended, total)))

    assert heard == [(256, 1200), (512, 1200), (856, 1200), (1112, 1200)]


def test_stretches_are_few_and_agree() -> None:
    compared = compare_stretches(azure_conv(100, rate_per_s=1.0), progress=quietly)

    assert compared.identical
    assert compared.rows < compared.steps / 10


def test_the_capacity_that_overload_doubles_is_still_right() -> None:
    ends_s = np.sort(run(azure_conv(8000, rate_per_s=1000.0)).record.requests["end_s"])
    first, last = 1600, 5600  # all instances are full from one to the other

    assert (last - first) / (ends_s[last] - ends_s[first]) == pytest.approx(AZURE_CONV_CAPACITY_PER_S, rel=0.05)


def test_the_yardstick_is_a_rate() -> None:
    assert timeouts_per_s(1000) > 0


def measurement(wall_s: float, timeouts: float, requests: int = 1000) -> Measurement:
    return Measurement(
        requests=requests,
        steps=5000,
        rows=100,
        tokens=10_000,
        simulated_s=50.0,
        wall_s=wall_s,
        simulate_s=wall_s * 0.9,
        score_s=wall_s * 0.1,
        peak_bytes=1_419_000_000,
        simpy_timeouts_per_s=(timeouts / 2, timeouts, 3 * timeouts),
    )


def test_scale_takes_out_the_pace_of_the_machine() -> None:
    on_half_the_speed = measurement(2.0, 500_000.0)
    scale = suites.Scale(
        {"some": measurement(1.0, 1e6), "more": on_half_the_speed, "wide": measurement(3.0, 1e6, requests=2000)}
    )

    assert scale.requests_ratio == pytest.approx(1.0)
    assert scale.instances_ratio == pytest.approx(3.0 / 2)


def test_tables_fit_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "in_own_process", lambda task, *a, progress, **o: FAKES[task])
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["bench"]) == 0
    assert main(["bench", "scale", "stretches", "--requests", "1000000"]) == 0
    out = capsys.readouterr().out

    assert "…" not in out
    assert "mooncake, mooncake-caching: needs --trace" in out


FAKES = {
    measure: measurement(29.62, 1e6, requests=1_000_000),
    compare_stretches: StretchSpeed(1.0, 12.0, 427_109, 4_000, identical=True),
}


def test_json_of_scale_and_stretches(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "in_own_process", lambda task, *a, progress, **o: FAKES[task])
    assert main(["bench", "scale", "stretches", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)

    assert out["scale"]["requests_ratio"] == 1.0
    assert len(out["scale"]["runs"]) == 3
    assert [row["load"] for row in out["stretches"]] == list(suites.LOADS)
    assert out["stretches"][0]["speedup"] == 12.0
    assert speed_tables.stretches_json({}) == []


def test_reading_is_measured_of_a_file_of_our_own(tmp_path: Path) -> None:
    """A week of requests in order; whole and its first rows."""
    file = tmp_path / "azure.csv"
    trace_reading.write_azure(file, 2_000)
    lines = file.read_text().splitlines()
    whole = trace_reading.read(file, 2_000, None, progress=quietly)
    first = trace_reading.read(file, 2_000, 10, progress=quietly)

    assert lines[0] == "TIMESTAMP,ContextTokens,GeneratedTokens"
    assert len(lines) == 2_001
    assert lines[1].startswith("2024-05-10 00:")
    assert lines[1:] == sorted(lines[1:])
    assert (whole.rows, first.rows) == (2_000, 10)
    assert whole.rows_per_s == 2_000 / whole.wall_s
    assert speed_tables.reading_json({"whole": whole})["whole"]["rows"] == 2_000
    assert speed_tables.reading_table({"whole": whole}).row_count == 1


def test_reading_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "traces", "fixed"]) == 2
    assert "run it by itself" in capsys.readouterr().err


def test_shipped_scenarios_are_measured_beside_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {"fixed": measurement(1.0, 1e6, requests=100), "quickstart": measurement(4.0, 1e6, requests=100)}
    runs["staleness"] = measurement(2.0, 0.5e6, requests=100)
    monkeypatch.setattr(shipped, "speed", lambda scenarios, **_: {name: runs[name] for name in scenarios})
    names = ["quickstart", "staleness", "mooncake_conversation"]
    found, skipped = shipped.measure_shipped(names, 100, watch=lambda _: nullcontext(quietly))

    assert {name: (each.share, each.lazy) for name, each in found.items()} == {
        "quickstart": (0.25, True),
        "staleness": (1.0, False),
    }
    assert skipped == {"mooncake_conversation": "missing; give the file with --set workload.trace=PATH"}


def test_every_shipped_scenario_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {*shipped.scenario_names()} >= {"autoscaling", "quickstart", "sglang", "speculation"}
    monkeypatch.setattr(shipped, "speed", lambda scenarios, **_: dict.fromkeys(scenarios, measurement(1.0, 1e6)))
    monkeypatch.setattr(shipped, "assemble", lambda _: SimpleNamespace(lazy=True))
    found, skipped = shipped.measure_shipped(requests=10, watch=lambda _: nullcontext(quietly))

    assert {*found, *skipped} == {*shipped.scenario_names()}
    assert list(skipped) == ["mooncake_conversation"]
