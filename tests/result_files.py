"""Result files as tools write them, from requests that are known: each function follows the rules of one tool.

What they say is worked out here with NumPy alone, so that a reader of ours is held against something else than itself.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

EPOCH_S = 1_760_000_000.0


@dataclass(frozen=True)
class Asked:
    """One request: when it was sent, when chunks of its answer came (after that), and how many tokens these held."""

    sent_s: float
    prompt: int
    chunks_s: tuple[float, ...]
    tokens: int
    error: str = ""

    @property
    def e2e_s(self) -> float:
        return self.chunks_s[-1] if self.chunks_s else 0.0

    @property
    def gaps_s(self) -> list[float]:
        return np.diff(self.chunks_s).tolist()


def asked(n: int = 30, seed: int = 0, tokens_per_chunk: int = 1, failed: int = 0) -> list[Asked]:
    """n requests, a few tenths of a second apart; the last `failed` of them come to nothing."""
    rng = np.random.default_rng(seed)
    sent_s = np.cumsum(rng.exponential(0.25, n))
    out = []
    for i in range(n):
        chunks = int(rng.integers(2, 9))
        gaps_s = rng.uniform(0.015, 0.04, chunks - 1)
        times_s = np.cumsum([rng.uniform(0.05, 0.4), *gaps_s])
        tokens = chunks if tokens_per_chunk == 1 else 1 + (chunks - 1) * tokens_per_chunk
        out.append(Asked(float(sent_s[i]), 50 + i, tuple(times_s.tolist()), tokens))
    broken = [replace(one, chunks_s=(), tokens=0, error="Connection reset") for one in out[n - failed :]]
    return [*out[: n - failed], *broken]


def done(requests: list[Asked]) -> list[Asked]:
    return [one for one in requests if not one.error]


def duration_s(requests: list[Asked]) -> float:
    """A benchmark's clock runs from the start to the last answer, and a moment longer."""
    return max(one.sent_s + one.e2e_s for one in requests) - min(one.sent_s for one in requests) + 0.01


def latencies_s(requests: list[Asked]) -> dict[str, np.ndarray]:
    """TTFT, TPOT, gaps between chunks and E2E of those that succeeded, as vLLM works them out."""
    ok = done(requests)
    return {
        "ttft": np.array([one.chunks_s[0] for one in ok]),
        "tpot": np.array([(one.e2e_s - one.chunks_s[0]) / (one.tokens - 1) for one in ok if one.tokens > 1]),
        "itl": np.array([gap for one in ok for gap in one.gaps_s]),
        "e2el": np.array([one.e2e_s for one in ok]),
    }


def _statistics(requests: list[Asked], names: dict[str, str], percentiles: tuple[int, ...]) -> dict[str, float]:
    found = {}
    for metric, values in latencies_s(requests).items():
        ms = 1e3 * values if len(values) else np.zeros(1)
        name = names[metric]
        found |= {f"mean_{name}_ms": float(ms.mean()), f"median_{name}_ms": float(np.median(ms))}
        found |= {f"std_{name}_ms": float(ms.std())}
        found |= {f"p{q}_{name}_ms": float(np.percentile(ms, q)) for q in percentiles}
    return found


def _counts(requests: list[Asked]) -> dict[str, Any]:
    ok, seconds = done(requests), duration_s(requests)
    output, prompt = sum(one.tokens for one in ok), sum(one.prompt for one in ok)
    return {
        "duration": seconds,
        "completed": len(ok),
        "total_input_tokens": prompt,
        "total_output_tokens": output,
        "request_throughput": len(ok) / seconds,
        "output_throughput": output / seconds,
    }


def _details(requests: list[Asked]) -> dict[str, list[Any]]:
    return {
        "input_lens": [one.prompt for one in requests],
        "output_lens": [one.tokens for one in requests],
        "ttfts": [one.chunks_s[0] if one.chunks_s else 0.0 for one in requests],
        "itls": [one.gaps_s for one in requests],
        "generated_texts": ["" for _ in requests],
        "errors": [one.error for one in requests],
    }


def vllm(requests: list[Asked], version: str = "0.33", details: bool = True, **metadata: Any) -> dict[str, Any]:
    """`vllm bench serve --save-result [--save-detailed]`; version 0.5 is benchmark_serving.py, details always."""
    head = {
        "date": "20261128-040000",
        "backend": "vllm",
        "model_id": "m",
        "tokenizer_id": "m",
        "num_prompts": len(requests),
    }
    head |= {"request_rate": 4.0} | metadata
    run = head | _counts(requests) | _statistics(requests, {m: m for m in ("ttft", "tpot", "itl", "e2el")}, (99,))
    run["total_token_throughput"] = (run["total_input_tokens"] + run["total_output_tokens"]) / run["duration"]
    if version == "0.5":
        return run | {"best_of": 1, "use_beam_search": False} | _details(requests)
    run |= {
        "endpoint_type": "openai",
        "label": None,
        "burstiness": 1.0,
        "max_concurrency": metadata.get("max_concurrency"),
    }
    run |= {"failed": len(requests) - run["completed"], "request_goodput": None}
    run |= {"latencies": [one.e2e_s for one in requests], "queue_times": [0.0 for _ in requests]}
    if details:
        run |= _details(requests) | {"start_times": [1000.0 + one.sent_s for one in requests]}
    return run


def vllm_throughput(requests: list[Asked]) -> dict[str, Any]:
    """`vllm bench throughput --output-json`."""
    counts = _counts(requests)
    tokens = counts["total_input_tokens"] + counts["total_output_tokens"]
    per_s = {"requests_per_second": counts["request_throughput"], "tokens_per_second": tokens / counts["duration"]}
    return {
        "elapsed_time": counts["duration"],
        "num_requests": counts["completed"],
        "total_num_tokens": tokens,
        **per_s,
    }


def vllm_latency(requests: list[Asked]) -> dict[str, Any]:
    """`vllm bench latency --output-json`: seconds of whole batches."""
    e2e_s = latencies_s(requests)["e2el"]
    quantiles = {str(q): float(np.percentile(e2e_s, q)) for q in (10, 25, 50, 75, 90, 99)}
    return {"avg_latency": float(e2e_s.mean()), "latencies": e2e_s.tolist(), "percentiles": quantiles}


def with_role_chunk(run: dict[str, Any], gap_s: float = 2e-4, last: bool = False) -> dict[str, Any]:
    """A chat back-end's file: one chunk without text before (or after) the tokens of each answer."""
    itls = [
        ([*gaps, gap_s] if last else [gap_s, *gaps]) if n else []
        for n, gaps in zip(run["output_lens"], run["itls"], strict=True)
    ]
    latencies = [e2e + gap_s if e2e else 0.0 for e2e in run["latencies"]]
    pooled = 1e3 * np.array([gap for gaps in itls for gap in gaps])
    return run | {"backend": "openai-chat", "itls": itls, "latencies": latencies, "mean_itl_ms": float(pooled.mean())}


def sglang(requests: list[Asked], details: bool = True, **changes: Any) -> dict[str, Any]:
    """One line of `python -m sglang.bench_serving`, with --output-details."""
    run = {"tag": None, "backend": "sglang", "dataset_name": "random", "request_rate": 4.0, "max_concurrency": None}
    run |= {"sharegpt_output_len": None, "random_input_len": 50, "random_output_len": 9, "random_range_ratio": 0.0}
    names = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "e2e_latency"}
    run |= _counts(requests) | _statistics(requests, names, (90, 95, 99)) | {"accept_length": None} | changes
    run["total_throughput"] = (run["total_input_tokens"] + run["total_output_tokens"]) / run["duration"]
    return run | (_details(requests) if details else {})


def aiperf_records(requests: list[Asked], streamed: bool = True) -> list[dict[str, Any]]:
    """Lines of AIPerf's profile_export.jsonl."""
    return [_aiperf_record(i, one, streamed) for i, one in enumerate(requests)]


def _ms(seconds: float) -> dict[str, Any]:
    return {"value": 1e3 * seconds, "unit": "ms"}


def _aiperf_record(i: int, one: Asked, streamed: bool) -> dict[str, Any]:
    start_ns = round(1e9 * (EPOCH_S + one.sent_s))
    metadata = {"session_num": i, "x_request_id": f"r{i}", "conversation_id": f"c{i}", "turn_index": 0}
    metadata |= {"request_start_ns": start_ns, "request_end_ns": start_ns + round(1e9 * one.e2e_s)}
    metadata |= {"worker_id": "w", "record_processor_id": "p", "benchmark_phase": "profiling", "was_cancelled": False}
    if one.error:
        error = {"code": 500, "type": "ServerError", "message": one.error}
        return {"metadata": metadata, "metrics": {"error_isl": {"value": one.prompt, "unit": "tokens"}}, "error": error}
    metrics: dict[str, Any] = {
        "input_sequence_length": {"value": one.prompt, "unit": "tokens"},
        "output_sequence_length": {"value": one.tokens, "unit": "tokens"},
        "request_latency": _ms(one.e2e_s),
    }
    if streamed:
        metrics["time_to_first_token"] = _ms(one.chunks_s[0])
        metrics["inter_chunk_latency"] = {"value": [1e3 * gap for gap in one.gaps_s], "unit": "ms"}
        metrics["inter_token_latency"] = _ms((one.e2e_s - one.chunks_s[0]) / max(one.tokens - 1, 1))
    return {"metadata": metadata, "metrics": metrics, "error": None}


def _nvidia(requests: list[Asked]) -> dict[str, Any]:
    """Metrics as GenAI-Perf names them, and AIPerf after it."""
    values = latencies_s(requests)
    named = {"time_to_first_token": "ttft", "inter_token_latency": "tpot", "request_latency": "e2el"}
    out: dict[str, Any] = {}
    for name, metric in named.items():
        ms = 1e3 * values[metric]
        quantiles = {f"p{q}": float(np.percentile(ms, q)) for q in (50, 90, 95, 99)}
        out[name] = {"unit": "ms", "avg": float(ms.mean()), **quantiles, "min": float(ms.min()), "max": float(ms.max())}
    counts = _counts(requests)
    out["request_throughput"] = {"unit": "requests/sec", "avg": counts["request_throughput"]}
    out["output_token_throughput"] = {"unit": "tokens/sec", "avg": counts["output_throughput"]}
    out["request_count"] = {"unit": "requests", "avg": float(counts["completed"])}
    return out


def aiperf_summary(requests: list[Asked]) -> dict[str, Any]:
    """profile_export_aiperf.json."""
    warm_up = {"name": "warmup", "kind": "warmup", "type": "concurrency", "concurrency": 2, "requests": 5}
    phase = {"name": "profiling", "kind": "profiling", "type": "poisson", "rate": 4.0, "concurrency": None}
    config = {"phases": [warm_up, phase], "endpoint": {"streaming": True}}
    return {"schema_version": "1.4", "aiperf_version": "0.13.0", **_nvidia(requests), "input_config": config}


def genai_perf(requests: list[Asked]) -> dict[str, Any]:
    """profile_export_genai_perf.json."""
    return {**_nvidia(requests), "input_config": {"subcommand": "profile", "model_names": ["m"]}}


def genai_perf_raw(requests: list[Asked]) -> dict[str, Any]:
    """profile_export.json of perf_analyzer: an SSE message for each token, an empty one with the role, and the end."""
    rows = []
    for one in requests:
        start_ns = round(1e9 * (EPOCH_S + one.sent_s))
        times = [one.chunks_s[0] - 1e-3, *one.chunks_s, one.e2e_s + 1e-3] if one.chunks_s else []
        words = ["", *(f"w{i}" for i in range(len(one.chunks_s)))]
        said = [f'data: {{"choices":[{{"delta":{{"content":"{word}"}}}}]}}' for word in words]
        outputs = [{"response": text} for text in [*said, "data: [DONE]"]] if one.chunks_s else []
        times_ns = [start_ns + round(1e9 * time) for time in times]
        rows.append({"timestamp": start_ns, "response_timestamps": times_ns, "response_outputs": outputs})
    experiment = {"experiment": {"mode": "request_rate", "value": 4.0}, "requests": rows, "window_boundaries": []}
    return {"service_kind": "openai", "endpoint": "v1/chat/completions", "experiments": [experiment]}


def guidellm(runs: list[list[Asked]], version: str = "0.8") -> dict[str, Any]:
    """benchmarks.json (or .yaml), a benchmark for each of the runs."""
    return {"metadata": {"version": 1}, "args": {}, "benchmarks": [_guidellm_run(run, version) for run in runs]}


def _guidellm_run(requests: list[Asked], version: str) -> dict[str, Any]:
    row = _guidellm_new if version >= "0.4" else _guidellm_old
    by_status: dict[str, list[Any]] = {"successful": [], "incomplete": [], "errored": []}
    for one in requests:
        by_status["errored" if one.error else "successful"].append(row(one))
    values, counts = latencies_s(requests), _counts(requests)

    def summary(metric: str, factor: float) -> dict[str, Any]:
        scaled = factor * values[metric]
        percentiles = {f"p{q}": float(np.percentile(scaled, q)) for q in (50, 90, 95, 99)}
        return {"successful": {"mean": float(scaled.mean()), "percentiles": percentiles}}

    metrics = {
        "time_to_first_token_ms": summary("ttft", 1e3),
        "inter_token_latency_ms": summary("tpot", 1e3),
        "request_latency": summary("e2el", 1.0),
        "requests_per_second": {"successful": {"mean": counts["request_throughput"]}},
        "output_tokens_per_second": {"successful": {"mean": counts["output_throughput"]}},
    }
    strategy = {"type_": "poisson", "rate": 4.0}
    return {
        "type_": "generative_benchmark",
        "config": {"strategy": strategy},
        "metrics": metrics,
        "requests": by_status,
    }


def _guidellm_new(one: Asked) -> dict[str, Any]:
    start = EPOCH_S + one.sent_s
    first, last = (start + one.chunks_s[0], start + one.e2e_s) if one.chunks_s else (None, None)
    timings = {"resolve_start": start, "request_start": start, "request_end": start + one.e2e_s + 1e-4}
    timings |= {"resolve_end": start + one.e2e_s + 2e-4, "first_token_iteration": first, "last_token_iteration": last}
    return {
        "request_id": "r", "info": {"status": "errored", "timings": timings, "error": one.error or None},
        "input_metrics": {"text_tokens": one.prompt}, "output_metrics": {"text_tokens": one.tokens},
        "output_tokens": one.tokens or None, "prompt_tokens": one.prompt,
    }  # fmt: skip


def _guidellm_old(one: Asked) -> dict[str, Any]:
    start = EPOCH_S + one.sent_s
    first, last = (start + one.chunks_s[0], start + one.e2e_s) if one.chunks_s else (None, None)
    return {
        "type_": "generative_text_response", "prompt_tokens": one.prompt, "output_tokens": one.tokens,
        "start_time": start, "end_time": start + one.e2e_s, "first_token_time": first, "last_token_time": last,
        "error": one.error or None,
    }  # fmt: skip


def inference_perf_requests(requests: list[Asked], version: str = "0.7") -> list[dict[str, Any]]:
    """per_request_lifecycle_metrics.json; the clock is a counter of seconds."""
    rows = []
    for one in requests:
        start = 5000.0 + one.sent_s
        answer = {"output_tokens": one.tokens, "output_token_times": [start + time for time in one.chunks_s]}
        info = {
            "input_tokens": one.prompt,
            "request_metrics": {"text": {"input_tokens": one.prompt}},
            "response_metrics": answer,
        }
        error = {"error_type": "Timeout", "error_msg": one.error} if one.error else None
        info = info if version >= "0.5" else {"input_tokens": one.prompt, **answer}
        rows.append(
            {
                "start_time": start,
                "end_time": start + one.e2e_s,
                "request": "{}",
                "response": "",
                "info": info,
                "error": error,
            }
        )
    return rows


def inference_perf_computed(requests: list[Asked]) -> list[dict[str, Any]]:
    """The same with fields = {info = false, computed_metrics = true}; what failed has no metrics."""
    rows = []
    for one in requests:
        start = 5000.0 + one.sent_s
        row: dict[str, Any] = {"start_time": start, "end_time": start + one.e2e_s}
        if not one.error:
            gaps = one.gaps_s
            row["computed_metrics"] = {
                "request_latency": one.e2e_s,
                "time_to_first_token": one.chunks_s[0],
                "time_per_output_token": float(np.mean(gaps)) if gaps else None,
                "inter_token_latencies": gaps,
                "input_tokens": one.prompt,
                "output_tokens": one.tokens,
            }
        error = {"error_type": "Timeout", "error_msg": one.error} if one.error else None
        rows.append(row | {"error": error})
    return rows


def inference_perf_summary(requests: list[Asked]) -> dict[str, Any]:
    """summary_lifecycle_metrics.json; stages have a rate besides."""
    names = {
        "time_to_first_token": "ttft",
        "time_per_output_token": "tpot",
        "inter_token_latency": "itl",
        "request_latency": "e2el",
    }
    values, counts = latencies_s(requests), _counts(requests)
    latency = {
        name: {"mean": float(values[metric].mean()), "median": float(np.median(values[metric])),
               **{f"p{q}": float(np.percentile(values[metric], q)) for q in (90, 95, 99)}}
        for name, metric in names.items()
    }  # fmt: skip
    throughput = {
        "requests_per_sec": counts["request_throughput"],
        "output_tokens_per_sec": counts["output_throughput"],
    }
    successes = {"count": counts["completed"], "latency": latency, "throughput": throughput}
    failures = {"count": len(requests) - counts["completed"], "request_latency": {}, "by_label": {}}
    load = {"count": len(requests), "requested_rate": 4.0, "achieved_rate": 3.9}
    return {
        "benchmark_time_seconds": counts["duration"],
        "load_summary": load,
        "successes": successes,
        "failures": failures,
    }


def trtllm_report(requests: list[Asked]) -> dict[str, Any]:
    """`trtllm-bench ... --report_json`."""
    values, counts = latencies_s(requests), _counts(requests)

    def percentiles(metric: str) -> dict[str, float]:
        return {f"p{q}": float(1e3 * np.percentile(values[metric], q)) for q in (50, 90, 95, 99)}

    performance = {"total_latency_ms": 1e3 * counts["duration"], "avg_request_latency_ms": 1e3 * values["e2el"].mean()}
    performance |= {
        "request_throughput_req_s": counts["request_throughput"],
        "system_output_throughput_tok_s": counts["output_throughput"],
    }
    performance["request_latency_percentiles_ms"] = percentiles("e2el")
    streaming = {"avg_ttft_ms": 1e3 * values["ttft"].mean(), "avg_tpot_ms": 1e3 * values["tpot"].mean()}
    streaming |= {"ttft_percentiles": percentiles("ttft"), "tpot_percentiles": percentiles("tpot")}
    info = {"num_requests": len(requests), "avg_num_concurrent_requests": 3.0}
    return {
        "engine": {"model": "m", "backend": "Pytorch", "version": "1.2"},
        "request_info": info,
        "performance": performance,
        "streaming_metrics": streaming,
    }


def trtllm_requests(requests: list[Asked]) -> list[dict[str, Any]]:
    """`trtllm-bench ... --request_json`: nanoseconds."""

    def ns(one: Asked, time: float) -> int:
        return round(1e9 * (EPOCH_S + one.sent_s + time))

    return [
        {"id": i, "num_input_tokens": one.prompt, "error_tokens": 0, "start_timestamp": ns(one, 0),
         "first_token_timestamp": ns(one, one.chunks_s[0]), "end_timestamp": ns(one, one.e2e_s),
         "num_output_tokens": one.tokens, "output": "", "output_tokens": one.tokens}
        for i, one in enumerate(done(requests))
    ]  # fmt: skip


def llmperf_requests(requests: list[Asked]) -> list[dict[str, Any]]:
    """..._individual_responses.json: an inter-token latency that counts the first token in."""
    rows = []
    for one in requests:
        if one.error:
            rows.append({"error_code": 500, "error_msg": one.error, "number_input_tokens": one.prompt})
            continue
        rows.append(
            {"error_code": None, "inter_token_latency_s": one.e2e_s / one.tokens, "ttft_s": one.chunks_s[0],
             "end_to_end_latency_s": one.e2e_s, "number_total_tokens": one.prompt + one.tokens,
             "number_output_tokens": one.tokens, "number_input_tokens": one.prompt}
        )  # fmt: skip
    return rows


def llmperf_summary(requests: list[Asked]) -> dict[str, Any]:
    """..._summary.json."""
    values, counts = latencies_s(requests), _counts(requests)
    out: dict[str, Any] = {
        "version": "2023-08-31",
        "name": "m_550_150_summary",
        "model": "m",
        "num_concurrent_requests": 4,
    }
    for name, metric in (("ttft_s", "ttft"), ("end_to_end_latency_s", "e2el")):
        out |= {f"results_{name}_quantiles_p{q}": float(np.percentile(values[metric], q)) for q in (50, 90, 95, 99)}
        out[f"results_{name}_mean"] = float(values[metric].mean())
    out |= {
        "results_num_completed_requests": counts["completed"],
        "results_number_errors": len(requests) - counts["completed"],
    }
    out["results_num_completed_requests_per_min"] = 60 * counts["request_throughput"]
    return out | {"results_mean_output_throughput_token_per_s": counts["output_throughput"]}


def llmservingsim(requests: list[Asked], gaps: bool = True) -> str:
    """Its CSV, nanoseconds; before it had ITL, `output` was the whole sequence."""
    text = io.StringIO()
    columns = [
        "instance id",
        "request id",
        "model",
        "input",
        "output",
        "arrival",
        "end_time",
        "latency",
        "queuing_delay",
        "TTFT",
        "TPOT",
    ]
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*columns, *(["ITL"] if gaps else [])])
    for i, one in enumerate(done(requests)):
        arrival, ttft, e2e = (round(1e9 * time) for time in (one.sent_s, one.chunks_s[0], one.e2e_s))
        tpot = (e2e - ttft) // max(one.tokens - 1, 1)
        output = one.tokens if gaps else one.prompt + one.tokens
        row: list[Any] = [0, i, "m", one.prompt, output, arrival, arrival + e2e, e2e, 0, ttft, tpot]
        rows.writerow([*row, *([str([round(1e9 * gap) for gap in one.gaps_s])] if gaps else [])])
    return text.getvalue()


def timelines(requests: list[Asked]) -> list[dict[str, Any]]:
    """llmsim's own."""
    return [
        {
            "arrival_s": one.sent_s,
            "token_times_s": [one.sent_s + time for time in one.chunks_s],
            "prompt_tokens": one.prompt,
        }
        for one in requests
    ]


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def of_every_kind(requests: list[Asked]) -> dict[str, str]:
    """A file of each kind, by name: its text."""
    as_objects = {
        "vllm.json": vllm(requests),
        "vllm-0.5.json": vllm(requests, version="0.5"),
        "vllm-summary.json": vllm(requests, details=False),
        "vllm-offline.json": vllm_throughput(requests),
        "vllm-offline-latency.json": vllm_latency(requests),
        "aiperf.json": aiperf_summary(requests),
        "genai-perf.json": genai_perf(requests),
        "genai-perf-raw.json": genai_perf_raw(requests),
        "guidellm.json": guidellm([requests]),
        "guidellm-0.3.json": guidellm([requests], version="0.3"),
        "inference-perf.json": inference_perf_summary(requests),
        "inference-perf-requests.json": inference_perf_requests(requests),
        "inference-perf-computed.json": inference_perf_computed(requests),
        "trtllm.json": trtllm_report(requests),
        "trtllm-requests.json": trtllm_requests(requests),
        "llmperf.json": llmperf_summary(requests),
        "llmperf-requests.json": llmperf_requests(requests),
        "timelines.json": timelines(requests),
    }
    texts = {name: json.dumps(value) for name, value in as_objects.items()}
    texts["sglang.jsonl"] = lines([sglang(requests)])
    texts["aiperf.jsonl"] = lines(aiperf_records(requests))
    texts["llmservingsim.csv"] = llmservingsim(requests)
    return texts
