from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from llmsim.cli import main
from llmsim.errors import LlmsimError
from llmsim.studies.bench import peers
from llmsim.studies.bench.against import Runs
from llmsim.studies.bench.workloads import fixed, mooncake_caching

#: in place of AISimulate: it takes 50 ms of CPU time, and looks whether it was asked for as many requests as expected
STUB = """#!/usr/bin/env python3
import json, sys, time
asked = json.load(open(sys.argv[sys.argv.index("-c") + 1]))
assert asked["traffic"]["stop"]["requests"] in (20, 100)
while time.process_time() < 0.05:
    pass
"""


def stub(folder: Path, text: str = STUB) -> Path:
    command = folder / "aisimulate"
    command.write_text(text)
    command.chmod(0o755)
    return command


def test_a_rival_is_run_beside_llmsim_and_its_start_does_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_cpu_s", lambda peer, described, requests, folder: 7.0 + 0.001 * requests)
    command = ["bench", "peers", "--peer", str(stub(tmp_path)), "--requests", "50", "--repeat", "1", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)["peers"]

    assert found.keys() == {"fixed"}
    assert found["fixed"]["peer_requests_per_s"] == pytest.approx(1000)
    assert found["fixed"]["times_faster"] == pytest.approx(found["fixed"]["requests_per_s"] / 1000)


def test_the_cpu_time_of_a_rival_is_measured(tmp_path: Path) -> None:
    whole_s, few_s = peers._peer_s(peers.Peer.at(stub(tmp_path)), fixed(100), 100)

    assert min(whole_s, few_s) >= 0.05


def test_a_rival_that_fails_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = peers.Peer.at(stub(tmp_path, "#!/usr/bin/env python3\nraise SystemExit('no such hardware')\n"))
    with pytest.raises(LlmsimError, match="it says: no such hardware"):
        peers._peer_s(broken, fixed(100), 100)


def test_it_is_asked_for_the_same_work(tmp_path: Path) -> None:
    asked = peers.question(fixed(100), 50, tmp_path)
    worker = asked["engine"]["workers"]["aggregated"]

    assert asked["traffic"]["source"] == {"type": "synthetic", "input_tokens": 1024, "output_tokens": 256}
    assert asked["traffic"]["load"]["requests_per_second"] == 20.0
    assert asked["traffic"]["stop"] == {"requests": 50}
    assert worker["parallelism"] == {"replicas": 4, "tensor": 1}
    assert worker["scheduler"] == {"max_batched_tokens": 8192, "max_sequences": 1024}
    assert not worker["kv_cache"]["prefix_caching"]


def test_a_trace_is_cut_and_unpacked(tmp_path: Path) -> None:
    trace = tmp_path / "given.jsonl.gz"
    with gzip.open(trace, "wt") as rows:
        rows.writelines(f'{{"timestamp": {n}}}\n' for n in range(9))
    asked = peers.question(mooncake_caching(trace, 3), 3, tmp_path)

    assert Path(asked["traffic"]["source"]["paths"][0]).read_text().splitlines()[-1] == '{"timestamp": 2}'
    assert asked["engine"]["workers"]["aggregated"]["kv_cache"]["prefix_caching"]


def test_rates_are_of_the_least_times() -> None:
    found = peers.VersusPeer(100, Runs([0.5, 0.25]), peer_requests_per_s=80.0)

    assert found.times_faster == 400 / 80
