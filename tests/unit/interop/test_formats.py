"""Every tool's file, made by the tool's own rules: what is read of it, what is said to be lacking, and no more."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmsim.cli.shared_options import Choices
from llmsim.errors import InputError
from llmsim.interop import formats as package
from llmsim.interop.document import read_document
from llmsim.interop.format import formats, read_measured, read_runs
from llmsim.library.opened import open_results
from tests import result_files as files
from tests.places import ROOT, evidence

REQUESTS = files.asked()
SLO = {"ttft_s": 0.3, "tbt_s": None, "tpot_s": 0.03, "e2e_s": None}
NO_SLO = dict.fromkeys(SLO)


def scores(folder: Path, name: str, text: str, slo: dict[str, float | None] = NO_SLO) -> list[dict[str, Any]]:
    file = folder / name
    file.write_text(text)
    opened = open_results(file, Choices(slo=slo, user={}, window=None))
    told = [(one.summary() if one.timelines is None else one.score()).to_dict() for one in opened]
    return [{"name": one.name, **values} for one, values in zip(opened, told, strict=True)]


def expected(requests: list[files.Asked] = REQUESTS) -> dict[str, np.ndarray]:
    names = {"ttft": "ttft_s", "tpot": "tpot_s", "itl": "tbt_s", "e2el": "e2e_s"}
    return {names[name]: values for name, values in files.latencies_s(requests).items()}


def assert_latencies(found: dict[str, Any], requests: list[files.Asked], *but: str, rel: float = 1e-5) -> None:
    """Mean and percentiles of every latency but these are those of the requests; these are not known."""
    for name, values in expected(requests).items():
        if name in but:
            assert found[name] is None, name
            continue
        assert found[name]["mean"] == pytest.approx(values.mean(), rel=rel), name
        for q in (50, 90, 99):
            assert found[name][f"p{q}"] == pytest.approx(np.percentile(values, q), rel=rel), (name, q)


#: what has no gaps between tokens in it
WITHOUT_GAPS = ("guidellm.json", "guidellm-0.3.json", "trtllm-requests.json", "llmperf-requests.json")
DETAILED = (
    *("vllm.json", "vllm-0.5.json", "sglang.jsonl", "aiperf.jsonl", "inference-perf-requests.json", "timelines.json"),
    *("genai-perf-raw.json", "llmservingsim.csv", *WITHOUT_GAPS),
)
SUMMARIES = (
    *("vllm-summary.json", "aiperf.json", "genai-perf.json", "inference-perf.json", "trtllm.json", "llmperf.json"),
)


@pytest.mark.parametrize("name", DETAILED)
def test_requests_one_by_one(name, tmp_path):
    [found] = scores(tmp_path, name, files.of_every_kind(REQUESTS)[name])

    assert_latencies(found, REQUESTS, *(["tbt_s"] if name in WITHOUT_GAPS else []))
    assert found["requests"]["finished"] == len(REQUESTS)
    assert found["output_tokens"] == sum(one.tokens for one in REQUESTS)
    assert (found["smooth_goodput_tokens_per_s"] is None) == (name in WITHOUT_GAPS or name == "llmperf-requests.json")


@pytest.mark.parametrize("name", [name for name in DETAILED if name not in ("timelines.json", "llmperf-requests.json")])
def test_rates_are_over_the_time_of_the_tool(name, tmp_path):
    [found] = scores(tmp_path, name, files.of_every_kind(REQUESTS)[name], SLO)
    by_clock = name.startswith(("vllm", "sglang"))  # others divide by first sending to last answer
    seconds = files.duration_s(REQUESTS) - (0.0 if by_clock else 0.01)
    tokens = sum(one.tokens for one in REQUESTS)
    good = [one.chunks_s[0] <= 0.3 and (one.e2e_s - one.chunks_s[0]) / (one.tokens - 1) <= 0.03 for one in REQUESTS]
    if name == "sglang.jsonl":
        assert not read_measured(tmp_path / name).dated
    rel = 1e-3 if name.startswith("guidellm") else 1e-5

    assert found["output_tokens_per_s"] == pytest.approx(tokens / seconds, rel=rel)
    assert found["requests_per_s"] == pytest.approx(len(REQUESTS) / seconds, rel=rel)
    assert found["slo"]["goodput_requests_per_s"] == pytest.approx(sum(good) / seconds, rel=rel)
    assert found["choices"]["window"]["kind"] == "makespan"


@pytest.mark.parametrize("name", ["vllm.json", "vllm-0.5.json", "sglang.jsonl", "guidellm.json"])
def test_numbers_are_those_that_the_tool_printed(name, tmp_path):
    [found] = scores(tmp_path, name, files.of_every_kind(REQUESTS)[name])
    held = {key: one for key, one in found["printed"].items() if one["here"] is not None}

    assert len(held) >= (9 if name.startswith("guidellm") else 15)
    why = {key: one["why"] for key, one in held.items() if "why" in one}
    assert not why or (name == "guidellm.json" and set(why) == {"requests_per_s", "output_tokens_per_s"})


@pytest.mark.parametrize("name", SUMMARIES)
def test_summaries_give_what_they_have_and_say_what_they_lack(name, tmp_path):
    [found] = scores(tmp_path, name, files.of_every_kind(REQUESTS)[name])
    printed = {key: one["tool"] for key, one in found["printed"].items()}

    assert printed["ttft_s.mean"] == pytest.approx(expected()["ttft_s"].mean())
    assert printed["e2e_s.p99"] == pytest.approx(np.percentile(expected()["e2e_s"], 99))
    assert printed["requests.finished"] == len(REQUESTS)
    assert printed["requests_per_s"] == pytest.approx(len(REQUESTS) / files.duration_s(REQUESTS))
    assert found["notes"]
    assert "requests" not in found


def test_each_file_is_recognised_by_one_format_alone(tmp_path):
    for name, text in files.of_every_kind(REQUESTS).items():
        (tmp_path / name).write_text(text)
        document = read_document(tmp_path / name)

        assert [one for one, kind in formats() if kind.recognises(document)] == [
            max((one for one, _ in formats() if name.replace("-", "_").startswith(one.removesuffix("_bench"))), key=len)
        ], name


@pytest.mark.parametrize("backend", ["vllm", "lmdeploy", "sglang-oai"])
def test_sglangs_benchmark_of_another_engine_is_sglangs(backend, tmp_path):
    (tmp_path / "one.jsonl").write_text(files.lines([files.sglang(REQUESTS, backend=backend)]))
    document = read_document(tmp_path / "one.jsonl")

    assert [kind.tool for _, kind in formats() if kind.recognises(document)] == ["SGLang bench_serving"]


def test_several_tokens_a_chunk(tmp_path):
    requests = files.asked(tokens_per_chunk=3)
    [found] = scores(tmp_path, "vllm.json", json.dumps(files.vllm(requests)))

    assert_latencies(found, requests)  # TBT is between chunks, as the tool has it
    assert found["output_tokens"] == sum(one.tokens for one in requests)
    assert not any("why" in one for one in found["printed"].values())
    assert found["notes"] == ["chunks are not tokens in 30 of 30 requests: ITL is between chunks"]


@pytest.mark.parametrize("last", [False, True])
def test_a_chunk_without_text_is_no_token(last, tmp_path):
    run = files.with_role_chunk(files.vllm(REQUESTS), last=last)
    [found] = scores(tmp_path, "vllm.json", json.dumps(run))
    values = expected()

    assert found["output_tokens"] == sum(one.tokens for one in REQUESTS)
    assert found["tbt_s"]["n"] == len(values["tbt_s"])
    assert found["ttft_s"]["mean"] == pytest.approx(values["ttft_s"].mean())
    assert found["tbt_s"]["p50"] == pytest.approx(np.percentile(values["tbt_s"], 50), rel=1e-2)
    assert "chunk without text" in found["printed"]["tbt_s.mean"]["why"]
    assert ("after" if last else "before") in found["notes"][0]


def test_a_chunk_of_a_role_long_before_the_first_token_is_not_guessed_at(tmp_path):
    run = files.with_role_chunk(files.vllm(REQUESTS), gap_s=0.5)
    [found] = scores(tmp_path, "vllm.json", json.dumps(run))

    assert found["output_tokens"] == sum(one.tokens for one in REQUESTS)
    assert found["notes"][0].startswith("chunks are not tokens in 30 of 30")


def test_offline_benchmarks_of_vllm_give_their_totals(tmp_path):
    [totals] = scores(tmp_path, "t.json", json.dumps(files.vllm_throughput(REQUESTS)))
    [batches] = scores(tmp_path, "l.json", json.dumps(files.vllm_latency(REQUESTS)))

    assert totals["printed"]["requests_per_s"]["tool"] == pytest.approx(len(REQUESTS) / files.duration_s(REQUESTS))
    assert batches["printed"]["e2e_s.p99"]["tool"] == pytest.approx(np.percentile(expected()["e2e_s"], 99))
    assert all("vllm bench serve measures these" in one["notes"][-1] for one in (totals, batches))


def test_raw_records_of_aiperf_are_refused_by_name(tmp_path):
    raw = [{"metadata": record["metadata"], "start_perf_ns": 1} for record in files.aiperf_records(REQUESTS)]

    with pytest.raises(InputError, match="raw records, without metrics"):
        scores(tmp_path, "raw.jsonl", files.lines(raw))


@pytest.mark.parametrize("run", ["seqs128", "seqs192", "chunked_prefix"])
def test_published_reports_of_inference_perf(run):
    folder = evidence(f"groundtruth/kubecon_h100/{run}")
    for file in [folder / "summary_lifecycle_metrics.json", *sorted(folder.glob("stage_*.json"))]:
        report = json.loads(file.read_text())
        [found] = read_runs(file)
        latency = report["successes"]["latency"]

        assert found.printed["ttft_s.p99"] == latency["time_to_first_token"]["p99"]
        assert found.printed["tpot_s.p50"] == latency["time_per_output_token"]["median"]
        assert found.printed["e2e_s.mean"] == latency["request_latency"]["mean"]
        assert found.printed["output_tokens_per_s"] == report["successes"]["throughput"]["output_tokens_per_sec"]
        assert found.load.rate_per_s == report["load_summary"].get("requested_rate")


def test_a_file_within_gzip(tmp_path):
    packed = gzip.compress(json.dumps(files.vllm(REQUESTS)).encode())
    (tmp_path / "vllm.json.gz").write_bytes(packed)
    (tmp_path / "cut.json.gz").write_bytes(packed[:-200])

    assert len(read_measured(tmp_path / "vllm.json.gz").timelines) == len(REQUESTS)
    with pytest.raises(InputError, match="the gzip file is truncated"):
        read_measured(tmp_path / "cut.json.gz")


def test_all_requests_failed(tmp_path):
    requests = files.asked(5, failed=5)
    for name, text in (
        ("vllm.json", json.dumps(files.vllm(requests))),
        ("sglang.jsonl", files.lines([files.sglang(requests)])),
        ("aiperf.jsonl", files.lines(files.aiperf_records(requests))),
        ("llmperf.json", json.dumps(files.llmperf_requests(requests))),
    ):
        [found] = scores(tmp_path, name, text, SLO)

        assert (found["requests"]["finished"], found["requests"]["abandoned"]) == (0, 5)
        assert (found["ttft_s"]["mean"], found["slo"]["attainment"]) == (None, 0.0)
        assert any("5 requests failed, most often: Connection reset" in note for note in found["notes"])


@pytest.mark.parametrize(
    "name", ["vllm.json", "sglang.jsonl", "aiperf.jsonl", "guidellm.json", "inference-perf-requests.json"]
)
def test_a_failed_request_stays_and_its_mark_on_the_numbers_is_explained(name, tmp_path):
    requests = files.asked(failed=1)
    [found] = scores(tmp_path, name, files.of_every_kind(requests)[name], SLO)

    assert (found["requests"]["finished"], found["requests"]["abandoned"]) == (29, 1)
    assert found["slo"]["attainment"] == pytest.approx(
        np.mean(
            [
                not one.error and one.chunks_s[0] <= 0.3 and (one.e2e_s - one.chunks_s[0]) / (one.tokens - 1) <= 0.03
                for one in requests
            ]
        )
    )
    why = {one["why"] for one in found.get("printed", {}).values() if "why" in one and one["here"] is not None}
    assert all("1 failed requests count as cut short here" in reason or "GuideLLM" in reason for reason in why)


def test_runs_that_were_appended(tmp_path):
    runs = [files.asked(5, seed) for seed in range(3)]
    for name, text in (
        ("vllm.json", files.lines([files.vllm(run) for run in runs])),
        ("list.json", json.dumps([files.vllm(run) for run in runs])),
        ("sglang.jsonl", files.lines([files.sglang(run) for run in runs])),
        ("guidellm.json", json.dumps(files.guidellm(runs))),
    ):
        found = scores(tmp_path, name, text)

        assert [one["name"][-10:] for one in found] == ["run 1 of 3", "run 2 of 3", "run 3 of 3"]
        for one, run in zip(found, runs, strict=True):
            assert one["ttft_s"]["mean"] == pytest.approx(expected(run)["ttft_s"].mean(), rel=1e-5)


def test_a_line_that_is_cut_off_takes_no_other_with_it(tmp_path):
    [found] = scores(tmp_path, "aiperf.jsonl", files.lines(files.aiperf_records(REQUESTS))[:-40])

    assert found["requests"]["finished"] == len(REQUESTS) - 1
    assert "1 lines are left out, not valid JSON: the first is line 30" in found["notes"][0]


def test_yaml_of_guidellm(tmp_path):
    yaml = pytest.importorskip("yaml")
    for name in ("guidellm.yaml", "guidellm.yml"):
        [found] = scores(tmp_path, name, yaml.safe_dump(files.guidellm([REQUESTS])))

        assert_latencies(found, REQUESTS, "tbt_s")


def test_answers_of_aiperf_that_were_not_streamed(tmp_path):
    records = files.aiperf_records(REQUESTS, streamed=False)
    [found] = scores(tmp_path, "aiperf.jsonl", files.lines(records))

    assert found["e2e_s"]["mean"] == pytest.approx(expected()["e2e_s"].mean())
    assert (found["ttft_s"], found["tpot_s"], found["tbt_s"]) == (None, None, None)
    assert "came in one piece" in " ".join(found["notes"])


def test_the_warm_up_of_aiperf_is_left_out(tmp_path):
    records = files.aiperf_records(REQUESTS)
    for record in records[:4]:
        record["metadata"]["benchmark_phase"] = "warmup"
    [found] = scores(tmp_path, "aiperf.jsonl", files.lines(records))

    assert found["requests"]["total"] == len(REQUESTS) - 4
    assert "4 requests of the warm-up are left out" in found["notes"]


def test_llmservingsim_before_it_had_gaps(tmp_path):
    [found] = scores(tmp_path, "old.csv", files.llmservingsim(REQUESTS, gaps=False))

    assert_latencies(found, REQUESTS, "tbt_s")
    assert found["output_tokens"] == sum(one.tokens for one in REQUESTS)


def test_vllm_keeps_latencies_without_details(tmp_path):
    run = files.vllm(REQUESTS, details=False)
    without = {key: value for key, value in run.items() if "_e2el_" not in key}
    [found] = scores(tmp_path, "vllm.json", json.dumps(without))

    assert found["printed"]["e2e_s.p90"]["tool"] == pytest.approx(np.percentile(expected()["e2e_s"], 90))
    assert "--save-detailed" in found["notes"][-1]


def test_a_csv_of_a_sweep_of_vllm(tmp_path):
    runs = [files.vllm(files.asked(5, seed), details=False) for seed in (1, 2)]
    flat = [{key: value for key, value in run.items() if not isinstance(value, list)} for run in runs]
    text = ",".join(flat[0]) + "\n" + "".join(",".join(map(str, run.values())) + "\n" for run in flat)
    found = scores(tmp_path, "summary.csv", text)

    assert [one["printed"]["ttft_s.mean"]["tool"] for one in found] == pytest.approx(
        [run["mean_ttft_ms"] / 1e3 for run in runs]
    )


def test_the_load_that_a_file_states(tmp_path):
    def load(name: str, value: Any) -> tuple[Any, ...]:
        (tmp_path / name).write_text(json.dumps(value))
        one = read_runs(tmp_path / name)[0].load
        return one.rate_per_s, one.burstiness, one.max_concurrency, one.rescaled

    assert load("vllm.json", files.vllm(REQUESTS)) == (4.0, 1.0, None, True)
    closed = files.vllm(REQUESTS, request_rate="inf", max_concurrency=8)
    assert load("closed.json", closed) == (np.inf, 1.0, 8, True)
    assert load("sglang.jsonl", files.sglang(REQUESTS, max_concurrency=4)) == (4.0, None, 4, False)
    assert load("guidellm.json", files.guidellm([REQUESTS])) == (4.0, 1.0, None, False)
    assert load("summary.json", files.inference_perf_summary(REQUESTS)) == (4.0, None, None, False)
    assert load("llmperf.json", files.llmperf_summary(REQUESTS)) == (None, None, 4, False)
    assert load("aiperf.json", files.aiperf_summary(REQUESTS)) == (4.0, 1.0, None, False)


@pytest.mark.parametrize(
    ("phase", "load"),
    [
        ({"type": "concurrency", "concurrency": 8}, (np.inf, None, 8)),
        ({"type": "gamma", "rate": 3.0, "smoothness": 0.5, "concurrency": 9}, (3.0, 0.5, 9)),
        ({"type": "constant", "rate": 3.0}, (3.0, np.inf, None)),
        ({"type": "user_centric", "rate": 3.0}, (3.0, None, None)),
        ({"type": "fixed_schedule", "rate": 3.0}, (None, None, None)),
    ],
)
def test_the_load_of_a_phase_of_aiperf(tmp_path, phase, load):
    summary = files.aiperf_summary(REQUESTS)
    summary["input_config"]["phases"][-1] = {"name": "profiling", **phase}
    (tmp_path / "aiperf.json").write_text(json.dumps(summary))
    one = read_runs(tmp_path / "aiperf.json")[0].load

    assert (one.rate_per_s, one.burstiness, one.max_concurrency) == load


def test_the_load_of_strategies_of_guidellm_that_replay_a_trace_is_not_all_at_once(tmp_path):
    report = files.guidellm([REQUESTS])
    report["benchmarks"][0]["config"]["strategy"] = {"type_": "trace", "time_scale": 1.0}
    (tmp_path / "report.json").write_text(json.dumps(report))

    assert read_runs(tmp_path / "report.json")[0].load.rate_per_s is None


def test_the_table_in_the_documentation_has_every_format():
    page = (ROOT / "docs" / "reference" / "result_files.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")} - {"Tool"}

    assert rows == {kind.tool for _, kind in formats()}


OWN_FORMAT = """
from llmsim.interop.format import Format
from llmsim.interop.answers import Answer
from llmsim.interop.measured import of_answers
import numpy as np

class Loadtest(Format):
    tool = "loadtest"

    @classmethod
    def recognises(cls, document):
        return "loadtest_version" in document.whole

    @classmethod
    def read(cls, document):
        return [of_answers(cls.tool, [Answer(np.array(times), len(times)) for times in document.whole["answers"]])]
"""


def test_a_format_is_one_new_file(tmp_path, monkeypatch):
    folder = tmp_path / "formats"
    folder.mkdir()
    (folder / "loadtest.py").write_text(OWN_FORMAT)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    text = json.dumps({"loadtest_version": 1, "answers": [[0.5, 0.75], [0.25]]})

    [found] = scores(tmp_path, "mine.json", text)

    assert found["ttft_s"]["mean"] == 0.375
    assert found["choices"]["times"] == "as delivered to the client (loadtest)"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("log.json", '[{"start_time": 1.0, "end_time": 2.0, "info": "ok"}]', "JSON that no tool known here writes"),
        ("trace.csv", "arrival_s,prompt_tokens,output_tokens\n1,2,3\n", r"a trace\? llmsim trace show reads those"),
        ("trace.jsonl", '{"timestamp": 0, "input_length": 3, "output_length": 4}\n' * 2, r"a trace\?"),
    ],
)
def test_what_only_looks_like_a_result_is_not_taken_for_one(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_runs(tmp_path / name)


def test_a_request_that_is_left_out_explains_what_the_tool_counts_more(tmp_path):
    run = files.vllm(REQUESTS)
    run["itls"][3][0] = float("nan")
    [found] = scores(tmp_path, "vllm.json", json.dumps(run))

    assert found["printed"]["requests.finished"]["why"] == "some of its requests are left out here"
