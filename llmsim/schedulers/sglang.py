"""SGLang's scheduler (0.5.23: scheduler.py, schedule_policy.py, schedule_batch.py), with its options' names.

If any prompt can be prefilled, the step holds prompts only, and nothing decodes. A prompt may be cut into chunks; until
the last one is computed, nothing decodes either. Otherwise all running requests decode.

Whether a request is admitted goes by the memory that it and the running ones may still need: of each the output tokens
that it has asked for and not got, times `new_token_ratio`. That starts high, falls with each decode step, and is worked
out anew when memory has run out: then requests are *retracted*, those with the fewest output tokens first, and go to
the end of the queue. Once a request is refused, no other is looked at until a running one has left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, NamedTuple

from llmsim.errors import InputError
from llmsim.request import RequestView
from llmsim.scheduler import Decision, InstanceLimits, InstanceView, Scheduler, decodes_by_itself, positive
from llmsim.schedulers._prefill_adder import (
    PrefillAdder,
    asked_tokens,
    most_that_ignores_eos,
    most_tokens,
    seen_tokens,
)
from llmsim.waiting import RetractedLast, WaitingQueue

#: default chunked_prefill_size of GPUs with less memory than so many GiB
CHUNK_SIZES = ((20, 2048), (60, 4096), (160, 8192))
LARGEST_CHUNK = 16384  #: that of larger ones
DEFAULT_CHUNK = 8192  #: where nothing is known of the GPU: that of one with 80 GB
#: largest batch of CUDA graphs of GPUs with less memory than so many GiB: on fewer than four GPUs, and on more
GRAPHS = ((20, (8, 8)), (35, (24, 80)), (60, (32, 160)), (90, (256, 512)))
LARGEST_GRAPH = 512  #: that of larger ones
MIB = 2**20
START_RATIO, LEAST_RATIO = 0.7, 0.14  #: of new_token_ratio; the least one is relative to the start
DECAY_STEPS = 600  #: decode steps from the one to the other
RETRACT_STEPS = 20  #: after a retraction, so many steps should fit
LPM_MOST_WAITING = 128  #: longer queues go first come first served
TOUCH_EVERY, TOUCH_MOST = 32, 128  #: rounds, and waiting requests whose prefixes are kept from eviction then
ALIKE_TOKENS = 32  #: a prefix that long which another waiting request will have cached is worth waiting for


class Notes(NamedTuple):
    """What the scheduler remembers of one instance."""

    ratio: float  #: new_token_ratio
    decode_steps: int  #: as of this many
    full: bool = False  #: batch_is_full: a request was refused, or there was no seat
    fresh: bool = False  #: the prompts of the latest step become the running batch, which is not full as such
    running: int = 0  #: requests that had memory then; fewer now: one has left
    rounds: int = 0  #: in which the queue was ordered
    order: tuple[int, ...] = ()  #: of the queue; requests that are not in here come after


@dataclass(frozen=True)
class Sglang(Scheduler):
    """SGLang's scheduler for one GPU or tensor parallelism, without priorities, mixed chunks and speculation."""

    #: most prompt tokens in a step; None: by the memory of the GPU; -1: no chunks
    chunked_prefill_size: int | None = None
    max_prefill_tokens: int = 16384  #: the same, but without chunks the first prompt may be longer
    max_running_requests: int | None = None  #: most requests that run at once; None: by the KV memory
    schedule_policy: Literal["fcfs", "lpm"] = "fcfs"  #: lpm: the longest cached prefix first
    schedule_conservativeness: float = 1.0  #: more: reckon with longer outputs from the start

    def __post_init__(self) -> None:
        positive(
            max_prefill_tokens=self.max_prefill_tokens,
            max_running_requests=self.max_running_requests,
            schedule_conservativeness=self.schedule_conservativeness,
        )
        size = self.chunked_prefill_size
        if size is not None and size != -1 and size < 1:
            raise InputError(f"chunked_prefill_size is {size}, expected at least 1, or -1 for no chunks")

    async_scheduling = True
    prefix_cache = "radix"

    def on_gpu(self, memory_bytes: int) -> Sglang:
        """Set the size of chunks by the memory of the GPU, if it was left out."""
        if self.chunked_prefill_size is not None:
            return self
        size = next((size for below, size in CHUNK_SIZES if memory_bytes < below * 2**30), LARGEST_CHUNK)
        return replace(self, chunked_prefill_size=size)

    @property
    def _chunk_tokens(self) -> int | None:
        """Most prompt tokens in a step; None: no chunks."""
        size = DEFAULT_CHUNK if self.chunked_prefill_size is None else self.chunked_prefill_size
        return None if size < 0 else size

    def mem_fraction_static(self, memory_bytes: int, gpus: int) -> float:
        """SGLang's default share of a GPU's memory for weights and KV (server_args.py, as of late 2025).

        All but 512 MiB, 1.5 for each token of a chunk, 2 for each sequence of the largest CUDA graph, 128 for each GPU
        of the instance; of GPUs above 60 GiB, at least 10 GiB stay.
        """
        gib, mib = memory_bytes / 2**30, memory_bytes / MIB
        chunk = self.on_gpu(memory_bytes).chunked_prefill_size or DEFAULT_CHUNK
        graph = next((sizes[gpus >= 4] for below, sizes in GRAPHS if gib < below), LARGEST_GRAPH)
        reserved = 512 + 1.5 * max(chunk if chunk > 0 else self.max_prefill_tokens, 2048) + 2 * graph + 128 * gpus
        if gib > 60:
            reserved = max(reserved, 10 * 1024)
        return round((mib - reserved) / mib, 3)

    @property
    def most_running(self) -> int | None:
        """As many as there are seats."""
        return self.max_running_requests

    def new_queue(self) -> WaitingQueue:
        """First come first served, retracted requests to the end."""
        return RetractedLast()

    @decodes_by_itself
    def schedule(self, view: InstanceView) -> Decision:
        """Prompts if any can be taken, else decode."""
        notes = self._now(view)
        looked_up: tuple[tuple[int, int], ...] = ()
        if view.num_prefilling or (view.num_waiting and not notes.full):
            chunked = next(iter(view.prefilling), None)
            if chunked is None and self._seats(view) <= view.num_running:
                notes = notes._replace(full=True)
            else:
                decision = self._prefill(view, notes, chunked)
                if decision.prefill:
                    return decision
                notes, looked_up = decision.notes, decision.looked_up  # type: ignore[assignment]
        return self._decode(view, notes)._replace(looked_up=looked_up)

    # What is remembered ------------------------------------------------------------------------------------

    def _now(self, view: InstanceView) -> Notes:
        """What holds after all that has happened since the latest decision."""
        notes: Notes | None = view.notes
        if notes is None or view.worked_until_s < view.now_s:  # idle
            rounds = 0 if notes is None else notes.rounds
            return Notes(self._start_ratio, view.decode_steps, running=view.num_running, rounds=rounds)
        left = view.num_running < notes.running
        one_runs = view.num_running > view.num_prefilling
        full = notes.full and one_runs and not (left or notes.fresh or view.num_prefilling)
        return notes._replace(
            ratio=self.decayed(notes.ratio, view.decode_steps - notes.decode_steps),
            decode_steps=view.decode_steps,
            full=full,
            fresh=False,
            running=view.num_running,
        )

    @property
    def _start_ratio(self) -> float:
        return min(START_RATIO * self.schedule_conservativeness, 1.0)

    def decayed(self, ratio: float, steps: int) -> float:
        """Let the ratio fall step by step, as SGLang does, so that it rounds alike."""
        least = min(self._start_ratio * LEAST_RATIO, 1.0)
        decay = (self._start_ratio - least) / DECAY_STEPS
        for _ in range(steps):
            if ratio <= least:
                break
            ratio = max(ratio - decay, least)
        return ratio

    # Prefill -----------------------------------------------------------------------------------------------

    def _prefill(self, view: InstanceView, notes: Notes, chunked: RequestView | None) -> Decision:
        """Take the chunk that is under way, and waiting requests until one is refused."""
        queue, looked_up, notes = self._ordered(view, notes)
        batch = PrefillAdder(view, notes.ratio, self.max_prefill_tokens, self._chunk_tokens)
        cut = chunked is not None and batch.go_on(chunked)
        seats = self._seats(view) - view.num_running + (chunked is not None)
        full = False
        for request in queue:
            if batch.verdict() == "other":
                break
            full = len(batch.tokens) >= seats
            if full:
                break
            if view.caches_prefixes:
                looked_up.append((request.id, request.tokens_to_prefill - 1))
            verdict = batch.add(request)
            full = verdict == "no token"
            if verdict != "go on":
                break
        decoding = view.num_running - view.num_prefilling
        notes = notes._replace(
            full=full,
            fresh=bool(batch.tokens) and not decoding and len(batch.tokens) > (cut or batch.cut),
            running=view.num_running + len(batch.tokens) - (chunked is not None),
            order=tuple(id for id in notes.order if id not in batch.tokens),
        )
        return Decision(batch.tokens, decode=False, looked_up=tuple(looked_up), notes=notes)

    def _ordered(self, view: InstanceView, notes: Notes) -> tuple[Iterable[RequestView], list[tuple[int, int]], Notes]:
        """The queue in the order of the policy, and what was looked up for it."""
        if not (view.num_waiting and view.caches_prefixes):
            return view.waiting, [], notes
        if self.schedule_policy == "fcfs":
            return view.waiting, *_touched(view.waiting, notes)
        places = {id: place for place, id in enumerate(notes.order)}
        queue = sorted(view.waiting, key=lambda request: places.get(request.id, len(places)))
        if len(queue) > LPM_MOST_WAITING:
            return queue, *_touched(queue, notes)
        looked_up = [(request.id, request.tokens_to_prefill) for request in queue]
        queue = _longest_prefix_first(view, queue)
        return queue, looked_up, notes._replace(order=tuple(request.id for request in queue))

    def _seats(self, limits: InstanceLimits) -> int:
        """The most requests that run at once."""
        kv_tokens = limits.total_blocks * limits.block_tokens
        most = self.max_running_requests
        if most is None:
            most = min(max(int(kv_tokens / limits.max_model_len * 512), 2048), 4096)
        return min(most, max(kv_tokens // 2, 1))

    # Decode ------------------------------------------------------------------------------------------------

    def _decode(self, view: InstanceView, notes: Notes) -> Decision:
        """Let all decode, if memory is there for it."""
        some_end = view.num_decoding + view.num_prefilling < view.num_running
        if some_end:
            notes = notes._replace(full=False)
        if view.decode_blocks <= view.free_blocks:
            return Decision(notes=notes)
        if some_end:  # they are about to make room
            return Decision(decode=False, notes=notes)
        return self._retract(view, notes)

    def _retract(self, view: InstanceView, notes: Notes) -> Decision:
        """Take memory back from those with the fewest output tokens, at least one, until the next step fits."""
        running = [request for request in view.running if not view.rests(request)]
        stay = sorted(running, key=lambda request: (-seen_tokens(request, view), request.prompt_tokens))
        victims: list[RequestView] = []
        needed = view.decode_blocks
        while len(stay) > 1 and (not victims or needed > view.free_blocks + view.blocks_freed(victims)):
            victims.append(stay.pop())
            needed -= view.blocks_to_decode(victims[-1])
        emitted = sum(seen_tokens(request, view) for request in stay)
        asked = sum(asked_tokens(request, view) for request in stay)
        ratio = min(1.0, (emitted + RETRACT_STEPS * len(stay)) / (asked + 1))
        return Decision(
            preempt=tuple(request.id for request in victims),
            order=tuple(request.id for request in stay),
            loses_in_flight=True,
            notes=notes._replace(
                ratio=ratio,
                decode_steps=view.decode_steps + 1,
                full=False,
                running=view.num_running - len(victims),
            ),
            review_at_s=view.now_s,  # admission is open again
        )

    def why_never(self, request: RequestView, limits: InstanceLimits) -> str | None:
        """Reject a prompt that leaves no room for an output token."""
        most = most_tokens(limits) - 1
        if request.prompt_tokens >= most:
            return f"prompt is {request.prompt_tokens} tokens, at most {most - 1} leave room for an output"
        if most_that_ignores_eos(request, limits) < 1:
            return f"prompt of {request.prompt_tokens} tokens that ignores EOS leaves no room for an output"
        return None


def _touched(queue: Iterable[RequestView], notes: Notes) -> tuple[list[tuple[int, int]], Notes]:
    """Now and then, look up the first requests of a queue that is not in order of prefixes: the head last."""
    first = list(islice(queue, TOUCH_MOST)) if notes.rounds % TOUCH_EVERY == 0 else []
    looked_up = [(request.id, request.tokens_to_prefill) for request in reversed(first)]
    return looked_up, notes._replace(rounds=notes.rounds + 1)


def _longest_prefix_first(view: InstanceView, queue: Sequence[RequestView]) -> list[RequestView]:
    """Sort by cached tokens; those go last that wait for what another one is about to have cached."""
    seen = view.beginnings()
    keys: dict[int, tuple[bool, int]] = {}
    for request in queue:
        found = view.cached_tokens(request, request.tokens_to_prefill)
        last = False
        if found <= ALIKE_TOKENS:
            last = seen.longest(request) >= ALIKE_TOKENS
            if not last:
                seen.add(request)
        keys[request.id] = (last, 0 if last else -min(found, request.tokens_to_prefill - 1))
    return sorted(queue, key=lambda request: keys[request.id])
