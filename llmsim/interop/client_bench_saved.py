"""A run as vLLM's benchmark saves one: every number by its own rules, over the requests that were served."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from llmsim.interop.saving import Served, gaps_s
from llmsim.record import Floats

PERCENTILES = (50, 90, 95, 99)


def saved_run(served: Served) -> dict[str, Any]:
    """What `vllm bench serve --save-result --save-detailed` would have saved of it (schema of vLLM 0.33)."""
    load, times = served.load, served.timelines
    n, seconds = len(times), served.duration_s
    prompt = int(times.prompt_tokens[served.served].sum())
    output = int(served.n_tokens[served.served].sum())
    rate = "inf" if load.rate_per_s in (None, math.inf) else load.rate_per_s
    head = {
        "backend": "llmsim",
        "endpoint_type": "llmsim",
        "label": None,
        "model_id": served.model,
        "tokenizer_id": served.model,
        "num_prompts": n,
        "request_rate": rate,
        "burstiness": 1.0 if load.burstiness is None or math.isinf(load.burstiness) else load.burstiness,
        "max_concurrency": load.max_concurrency,
        "duration": seconds,
        "completed": len(served.served),
        "failed": n - len(served.served),
        "total_input_tokens": prompt,
        "total_output_tokens": output,
        "request_goodput": None,
    }
    rates = {
        "request_throughput": len(served.served),
        "output_throughput": output,
        "total_token_throughput": prompt + output,
    }
    per_s = {name: amount / seconds if seconds else 0.0 for name, amount in rates.items()}
    return {**head, **per_s, **_peaks(served), **_statistics(served), **_details(served)}


def _details(served: Served) -> dict[str, list[Any]]:
    done = set(served.served)
    each = [times_s.tolist() for times_s in served.tokens_s]
    return {
        "input_lens": served.timelines.prompt_tokens.tolist(),
        "output_lens": [len(times) if i in done else 0 for i, times in enumerate(each)],
        "ttfts": [times[0] if times else 0.0 for times in each],
        "itls": [gaps_s(np.array(times)).tolist() for times in each],
        "latencies": [times[-1] if times else 0.0 for times in each],
        "start_times": served.sent_s.tolist(),
        "queue_times": [0.0] * len(each),
        "generated_texts": [""] * len(each),
        "errors": list(served.errors),
    }


def _statistics(served: Served) -> dict[str, float]:
    """Mean, median, standard deviation and percentiles of TTFT, TPOT, ITL and E2E in milliseconds; 0 without any."""
    some = [served.tokens_s[i] for i in served.served if len(served.tokens_s[i])]
    several = [times_s for times_s in some if len(times_s) > 1]
    values: dict[str, Floats] = {
        "ttft": np.array([times_s[0] for times_s in some]),
        "tpot": np.array([(times_s[-1] - times_s[0]) / (len(times_s) - 1) for times_s in several]),
        "itl": np.concatenate([np.empty(0), *(gaps_s(times_s) for times_s in several)]),
        "e2el": np.array([times_s[-1] for times_s in some]),
    }
    found: dict[str, float] = {}
    for name, times_s in values.items():
        ms = 1e3 * times_s if len(times_s) else np.zeros(1)
        found |= {f"mean_{name}_ms": float(ms.mean()), f"median_{name}_ms": float(np.median(ms))}
        found[f"std_{name}_ms"] = float(ms.std())
        found |= {f"p{q}_{name}_ms": float(np.percentile(ms, q)) for q in PERCENTILES}
    return found


def _peaks(served: Served) -> dict[str, float | int]:
    """Most tokens in a second, counted from the first sending, and most requests under way at once."""
    some = [i for i in served.served if len(served.tokens_s[i])]
    if not some:
        return {"max_output_tokens_per_s": 0.0, "max_concurrent_requests": 0}
    sent_s = served.sent_s[some]
    seconds = np.concatenate([served.tokens_s[i] + served.sent_s[i] for i in some]) - sent_s.min()
    ends_s = np.sort(sent_s + np.array([served.tokens_s[i][-1] for i in some]))
    begins_s = np.sort(sent_s)
    under_way = np.arange(1, len(some) + 1) - np.searchsorted(ends_s, begins_s, side="right")
    return {
        "max_output_tokens_per_s": float(np.bincount(seconds.astype(np.int64)).max()),
        "max_concurrent_requests": int(under_way.max()),
    }
