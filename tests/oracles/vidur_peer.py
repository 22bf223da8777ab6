"""Vidur (microsoft/vidur) as plug-ins of llmsim: its schedulers `vllm` and `sarathi`, and its step times.

Written from the rules in words of shared/data/peers/vidur/README.md, with nothing but the contracts of
schedulers and latency models.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from llmsim.latency.contract import Chunk, LatencyModel
from llmsim.request import RequestView
from llmsim.scheduler import DECODE, Decision, InstanceView, Scheduler

LAYERS = 32
SEATS = 128  #: most requests that hold memory


class VidurTimes(LatencyModel):
    """Llama-2-7B on an A100: times looked up at rounded sizes, as Vidur's predictor does."""

    def __init__(self, folder: Path) -> None:
        self.generated: set[Chunk] = set()  #: chunks of the step that are decodes to Vidur, see VidurSarathi
        layer = pd.read_csv(folder / "pred_layer_ops_ms.csv.gz")
        decode = pd.read_csv(folder / "pred_attn_decode_ms.csv.gz")
        prefill = pd.read_csv(folder / "pred_attn_prefill_ms.csv.gz")
        self._layer_ms = _by_key(layer, ["num_tokens"], "layer_ms_excl_kv_save")
        self._decode_ms = _by_key(decode, ["batch_size", "kv_cache_size"], "prediction")
        self._prefill_ms = _by_key(prefill, ["kv_cache_size", "chunk"], "prediction")

    def step_time_s(self, prefill: Sequence[Chunk], decoding: int, context_tokens: float) -> float:
        if self.generated:
            decoding += len(self.generated)
            context_tokens += sum(computed + 1 for computed, _ in self.generated)
            prefill = [chunk for chunk in prefill if chunk not in self.generated]
        tokens = decoding + sum(chunk for _, chunk in prefill)
        ms = self._layer_ms[(_up(tokens, 8),)]
        if decoding:
            ms += self._decode_ms[decoding, _up(context_tokens // decoding, 64)]
        if prefill:
            cached = sum(_up(computed, 64) for computed, _ in prefill)
            ms += self._prefill_ms[cached, round(math.sqrt(sum(chunk**2 for _, chunk in prefill)))]
        return ms * LAYERS * 1e-3


def _by_key(table: pd.DataFrame, keys: list[str], value: str) -> dict[tuple[int, ...], float]:
    return dict(zip(zip(*(table[key].tolist() for key in keys), strict=True), table[value].tolist(), strict=True))


def _up(tokens: int, step: int) -> int:
    return -(-tokens // step) * step


@dataclass(frozen=True)
class VidurVllm(Scheduler):
    """Whole new prompts, if any can be admitted; otherwise everybody decodes, in order of arrival."""

    max_padded_tokens: int = 4096  #: prompts in a step x the longest of them

    def schedule(self, view: InstanceView) -> Decision:
        prefill = self._whole_prompts(view) if view.num_waiting else {}
        if prefill:
            return Decision(prefill, decode=False)
        if view.decode_blocks < view.free_blocks:
            return DECODE
        in_order = sorted(view.running, key=lambda request: (request.arrival_s, request.id))
        lost, _ = restarted(in_order, (), view.free_blocks, view, lambda request, view: view.blocks_held(request))
        return Decision(preempt=lost)

    def _whole_prompts(self, view: InstanceView) -> dict[int, int]:
        prefill: dict[int, int] = {}
        seats, free = SEATS - view.num_running, view.free_blocks
        longest = 0
        for request in view.waiting:
            tokens = request.tokens_to_prefill
            longest = max(longest, tokens)
            free -= view.blocks_for(tokens)
            too_long = (len(prefill) + 1) * longest > self.max_padded_tokens
            if len(prefill) == seats or too_long or free < watermark(view):
                break
            prefill[request.id] = tokens
        return prefill


@dataclass(frozen=True)
class VidurSarathi(Scheduler):
    """Who runs decodes; what is left of the chunk goes to the unfinished prompt, then to new ones.

    A prompt's blocks are reserved as a whole. A chunk outlasts all decodes (512 > 128), so at most one prompt is
    unfinished, it was admitted last, and Vidur's running list is in order of admission, as ours.

    Restarted in the middle of its prompt, a request loses the rest of it to its output: Vidur then generates these
    tokens one by one. Here they are read one by one, which takes the same steps; the plug-in has to remember where the
    prompt was cut, and when Vidur would have counted a first token that no engine could know yet.
    """

    generated: set[Chunk]  #: for VidurTimes: what Vidur generates and we read
    chunk_tokens: int = 512  #: of a step, decodes included
    cut_tokens: dict[int, int] = field(default_factory=dict)  #: what restarts left of prompts, by request
    cut_read_s: dict[int, float] = field(default_factory=dict)  #: when that was read for the first time

    def schedule(self, view: InstanceView) -> Decision:
        self.generated.clear()
        if not (view.num_waiting or view.num_prefilling) and view.decode_blocks < view.free_blocks:
            return DECODE
        unread = {request.id: self._unread(request, view.now_s) for request in view.prefilling}
        one_by_one = [request.id for request in view.prefilling if not unread[request.id]]
        reserved = sum(self._blocks(r, view) - view.blocks_held(r) for r in view.prefilling)
        lost, free = restarted(list(view.running), one_by_one, view.free_blocks - reserved, view, self._blocks)
        again = {request.id: request for request in view.running if request.id in lost}
        for request in again.values():
            self._cut(request, unread.get(request.id, 0) > 0)
        prefill = {id: 1 for id in one_by_one if id not in again}
        self.generated.update((r.computed_tokens, 1) for r in view.prefilling if r.id in prefill)
        budget = self.chunk_tokens - view.num_decoding - len(one_by_one)
        budget += sum(not unread.get(id) for id in again)
        for id in unread.keys() - again.keys() - prefill.keys():
            prefill[id] = min(unread[id], budget)
            budget -= prefill[id]
        seats = SEATS - view.num_running + len(lost)
        for request in [*(again[id] for id in reversed(lost)), *view.waiting]:
            tokens = self._prompt(request)
            free -= view.blocks_for(tokens)
            if not (budget and seats) or free < watermark(view):
                break
            prefill[request.id] = min(tokens, budget)
            budget -= prefill[request.id]
            seats -= 1
        return Decision(prefill, preempt=lost) if prefill or lost else DECODE

    def _prompt(self, request: RequestView) -> int:
        return self.cut_tokens.get(request.id, request.computed_tokens + request.tokens_to_prefill)

    def _blocks(self, request: RequestView, view: InstanceView) -> int:
        tokens = max(self._prompt(request), request.computed_tokens) if request.tokens_to_prefill else 0
        return view.blocks_for(tokens or request.computed_tokens)

    def _unread(self, request: RequestView, now_s: float) -> int:
        """Tokens that Vidur still sees as prompt; 0 for those that are read one by one."""
        left = max(self._prompt(request) - request.computed_tokens, 0)
        if not left:
            self.cut_read_s.setdefault(request.id, now_s)
        return left

    def _cut(self, request: RequestView, unread: bool) -> None:
        self.cut_tokens.pop(request.id, None)
        if request.tokens_to_prefill:
            self.cut_tokens[request.id] = request.computed_tokens + (not unread)


def restarted(
    running: Sequence[RequestView],
    one_by_one: Sequence[int],
    free: int,
    view: InstanceView,
    blocks: Callable[[RequestView, InstanceView], int],
) -> tuple[tuple[int, ...], int]:
    """Whom Vidur restarts before a step that decodes, and the blocks free after it.

    A free block is asked for even by those who need none.
    """
    to_look_at = deque(running)
    lost: list[int] = []
    while to_look_at:
        request = to_look_at.popleft()
        if request.tokens_to_prefill and request.id not in one_by_one:
            continue
        while free <= 0:
            victim = to_look_at.pop() if to_look_at else request
            lost.append(victim.id)
            free += blocks(victim, view)
            if victim is request:
                break
        else:
            free -= request.computed_tokens % view.block_tokens == 0
    return tuple(lost), free


def watermark(view: InstanceView) -> int:
    """Blocks that an admission leaves free."""
    return int(0.01 * view.total_blocks)
