"""Random workloads in the format of peers/sglang: settings, step times in ticks, requests."""

from __future__ import annotations

import numpy as np


def drawn(seed, **fixed):
    """Draw a workload: few or many requests, at once or apart, memory for few or many, with or without a tree."""
    rng = np.random.default_rng(seed)
    settings = {
        "kv_tokens": int(rng.choice([40, 90, 200, 400, 1500, 5000])),
        "page_size": 1,
        "chunked_prefill_size": int(rng.choice([-1, 4, 16, 16, 32, 64, 128, 512])),
        "max_prefill_tokens": int(rng.choice([48, 300, 16384, 16384])),
        "max_running_requests": int(rng.choice([2, 4, 8, 16, 32])),
        "radix_cache": bool(rng.random() < 0.65),
        "schedule_policy": str(rng.choice(["fcfs", "fcfs", "lpm"])),
        "schedule_conservativeness": float(rng.choice([1.0, 1.0, 0.3, 0.1, 0.05])),
    } | fixed
    settings["max_running_requests"] = min(settings["max_running_requests"], settings["kv_tokens"] // 2)
    times = {
        "step": int(rng.choice([4096, 8192])),
        "prefill_token": int(rng.choice([16, 256, 1024])),
        "sequence": int(rng.choice([0, 128, 512])),
        "context_token": int(rng.choice([0, 8, 32])),
    }
    return settings, times, _requests(rng, settings["kv_tokens"])


def _requests(rng, kv_tokens):
    n = int(rng.integers(5, 45))
    gap = int(rng.choice([0, 300, 5000, 60000]))
    arrival = np.cumsum(rng.integers(0, gap + 1, n)) // int(rng.choice([1, 8192])) * int(rng.choice([1, 8192]))
    longest = max(4, min(kv_tokens - 10, int(rng.choice([30, 80, 200, 600])), kv_tokens * 2 // 3))
    eos = float(rng.choice([0.0, 0.5, 1.0]))
    texts = [rng.integers(0, 3, 60).tolist() for _ in range(int(rng.integers(1, 4)))]
    part, shared = int(rng.choice([1, 2, 5, 17])), float(rng.choice([0.0, 0.5, 0.9]))
    names: dict = {}
    requests = []
    for at in np.sort(arrival):
        prompt = int(rng.integers(1, longest))
        most = int(rng.integers(1, max(2, min(kv_tokens - 8 - prompt, longest))))
        ends_early = rng.random() < eos
        output = int(rng.integers(1, most + 1)) if ends_early else most
        ignore_eos = int(output == most and rng.random() < 0.6)
        parts = []
        if rng.random() < shared:
            parts = _parts(rng, texts, part, names, prompt + (output if rng.random() < 0.3 else 0))
        requests.append([int(at), prompt, output, most, ignore_eos, parts])
    return requests


def _parts(rng, texts, part, names, upto):
    """Parts that begin as one of a few texts does, with a branch of its own after a while."""
    text = texts[int(rng.integers(len(texts)))]
    own = int(rng.integers(0, 60))
    text = [*text[:own], *rng.integers(0, 3, 60 - own).tolist()] if rng.random() < 0.5 else text
    parts, before = [], -1
    for number, token in enumerate(text):
        before = names.setdefault((before, token), len(names))
        end = min((number + 1) * part, upto)
        parts.append([before, end])
        if end == upto:
            break
    return parts
