"""Random workloads in the form of peers/vllm, hard ones: little memory, shared beginnings, priorities, a watermark."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def drawn(seed, **fixed):
    """Settings, step times and requests [arrival, prompt, output, priority, parts]; always the same for a seed."""
    rng = np.random.default_rng(seed)
    size = int(rng.choice([4, 8, 16]))
    longest = int(rng.choice([6, 20, 60])) * size  # prompt and output
    blocks = longest // size + int(rng.choice([0, 1, 5, 30, 300]))
    settings = {
        "max_num_batched_tokens": int(rng.choice([16, 32, 64, 256, 2048])),
        "max_num_seqs": int(rng.choice([1, 2, 4, 16, 64])),
        "block_size": size,
        "num_blocks": blocks,
        "prefix_caching": bool(rng.random() < 0.7),
        "watermark": float(rng.choice([0.0, 0.0, 0.1, 2.001 / (blocks + 1)])),
        "policy": str(rng.choice(["fcfs", "fcfs", "priority"])),
        "max_model_len": blocks * size,
    } | fixed
    times = {
        "step": int(rng.choice([4096, 16384])),
        "prefill_token": int(rng.choice([0, 64, 256])),
        "sequence": int(rng.choice([0, 128])),
        "context_token": int(rng.choice([0, 1, 8])),
    }
    return settings, times, _requests(rng, size, longest, settings["prefix_caching"])


def _requests(rng, size, longest, caching):
    n = int(rng.integers(5, 60))
    gap = float(rng.choice([0, 5_000, 60_000, 400_000]))
    arrival = np.cumsum(rng.exponential(gap, n) * (rng.random(n) < rng.choice([0.3, 1.0]))).astype(int)
    outputs = int(rng.choice([1, 5, 30, longest // 2]))  # at most
    texts = [_text(rng, size, longest) for _ in range(int(rng.integers(1, 8)))]
    whole = rng.random() < 0.3  # prompts of whole texts, so that the same ones come again and again
    turns = []  # [tokens, parts] of requests that others may go on with
    requests = []
    for i in range(n):
        own = texts[int(rng.integers(len(texts)))]
        start = 1
        if turns and rng.random() < 0.4:
            start, own = turns[int(rng.integers(len(turns)))]
        output = int(rng.integers(1, min(outputs, longest - start) + 1))
        prompt = int(rng.integers(start, longest - output + 1))
        if whole:
            prompt = min(own[-1][1], longest - output)
        elif rng.random() < 0.3:
            prompt = max(prompt // size * size, 1)
        total = prompt + output
        covered = _clipped(own, total if rng.random() < 0.5 else prompt) if rng.random() < 0.9 else []
        if covered and covered[-1][1] < total and covered[-1][1] == own[-1][1]:
            covered.append([10_000 + i, total])  # what it says itself, and a next turn may repeat
            if total < longest - 1:
                turns.append((total, covered))
        requests.append([int(arrival[i]), prompt, output, int(rng.integers(0, 3)), covered if caching else []])
    return requests


def _text(rng, size, longest):
    """Parts of a text that branches from the others: a name stands for all that goes before, too."""
    ends = np.cumsum(np.resize([size, size + size // 2, 3 * size, 2 * size], 6))
    names = np.cumsum(np.r_[1, rng.integers(0, 2, 5)] * 2 ** np.arange(6)) + 100 * np.arange(6)
    return [[int(name), int(min(end, longest))] for name, end in zip(names, ends, strict=True) if end < longest]


def _clipped(parts, tokens):
    """The first so many tokens of a text."""
    starts = [0, *(end for _, end in parts)]
    return [
        [name, min(end, tokens)]
        for (name, end), (start, _) in zip(parts, pairwise(starts), strict=True)
        if start < tokens
    ]
