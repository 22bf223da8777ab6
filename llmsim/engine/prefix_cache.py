"""KV memory that remembers what its blocks hold: prefix caching, as vLLM's V1 engine does it (v1/core/block_pool.py).

Only full blocks are found again, and a request finds as many as it has in one piece from its start, but never the block
of its last token: something must be computed to yield the next one. Blocks are known from the moment their computation
is scheduled, so that requests of one step share. A block that nobody holds any more goes to the end of the free queue,
the last block of a request first; memory is handed out from the head of that queue, and a known block that is handed
out is forgotten. So blocks that nobody holds count as free, and a prefix never outlives its beginning.

Two simplifications. When one decision admits several requests, the blocks that all of them find are held before any
memory is handed out. And where requests that run at once have computed the same block twice, there is one entry with
two copies; which of the copies a third request shares is not told apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Mapping, Set

import numpy as np

from llmsim.engine.memory import CachingMemory
from llmsim.errors import MemoryOverrun, PolicyError
from llmsim.request import RequestView
from llmsim.scheduler import Admission, Beginnings
from llmsim.workload.prefixes import Prefixes

_PLACES = 1 << 24  # more blocks than a request can have


class BlockKeys:
    """What the full blocks of each request hold, as numbers: equal if and only if all tokens up to their end are."""

    def __init__(self, prefixes: Prefixes | None, block_tokens: int) -> None:
        self._prefixes = None if prefixes is None else prefixes.recurring()
        self._block_tokens = block_tokens
        ids = 0 if self._prefixes is None else int(self._prefixes.ids.max(initial=-1)) + 1
        self._first_own = ids  # beyond the names of parts: one for each request's own tokens
        self._keys: dict[int, list[int]] = {}
        self._caches: Counter[int] = Counter()  # request -> instances that hold blocks of it
        self._ended: set[int] = set()  # requests that have ended, while some instance still holds blocks of theirs

    def of(self, request: int) -> list[int]:
        """Keys of the request's first blocks: those that others may have too, and what `name_own` has added."""
        keys = self._keys.get(request)
        if keys is None:
            keys = self._keys[request] = self._shared(request)
        return keys

    def _shared(self, request: int) -> list[int]:
        if self._prefixes is None:
            return []
        ids, ends = self._prefixes.of(request)
        if len(ids) == 0:
            return []
        place = np.arange(int(ends[-1]) // self._block_tokens)
        part = np.searchsorted(ends, (place + 1) * self._block_tokens)  # the one that a block's last token is in
        keys: list[int] = (ids[part] * _PLACES + place).tolist()
        return keys

    def name_own(self, request: int, blocks: int) -> None:
        """Name the first so many blocks, those with tokens that no other request has as well."""
        keys = self.of(request)
        own = (self._first_own + request) * _PLACES
        keys.extend(range(own + len(keys), own + blocks))

    def held(self, request: int) -> None:
        """Note that one instance more holds blocks of a request."""
        self._caches[request] += 1

    def released(self, request: int) -> None:
        """Note that one instance less holds blocks of a request."""
        self._caches[request] -= 1
        if not self._caches[request]:
            del self._caches[request]
            if request in self._ended:
                self._ended.discard(request)
                del self._keys[request]

    def forget(self, request: int) -> None:
        """Drop the keys of a request that has ended, as soon as no instance holds blocks of it."""
        if request in self._caches:
            self._ended.add(request)
        else:
            self._keys.pop(request, None)


class PrefixCache(CachingMemory):
    """Blocks with keys, holders and an order of eviction. Costs O(blocks) per request, O(log blocks) per look."""

    __slots__ = ("_copies", "_held", "_holders", "_idle", "_keys", "_queue", "_serial")

    def __init__(self, total_blocks: int, block_tokens: int, keys: BlockKeys) -> None:
        super().__init__(total_blocks, block_tokens)
        self._keys = keys
        self._held: dict[int, int] = {}  # request -> how many of its first blocks have keys that it holds
        self._holders: dict[int, int] = {}  # key -> requests that hold it, at least one
        self._copies: dict[int, int] = {}  # key -> blocks with it, where several requests have computed it
        self._idle: dict[int, int] = {}  # key that nobody holds -> its place in the queue
        #: free blocks, the next to be handed out first: place -> key, or minus the number of blocks without one
        self._queue: OrderedDict[int, int] = OrderedDict({0: -total_blocks})
        self._serial = 0

    def keys(self, request: int) -> list[int]:
        """Keys of the blocks of a request that others may find, or it may find again itself."""
        return self._keys.of(request)

    # Looking -----------------------------------------------------------------------------------------------

    def cached_blocks(self, request: int, tokens: int, beside: Set[int] = frozenset()) -> int:
        """How many blocks a request finds if it has `tokens` to compute, given that keys `beside` are there too."""
        keys = self._keys.of(request)
        most = min(len(keys), (tokens - 1) // self.block_tokens)
        holders, idle = self._holders, self._idle

        def missing(place: int) -> bool:
            key = keys[place]
            return key not in holders and key not in idle and key not in beside

        return bisect_left(range(most), True, self._held.get(request, 0), key=missing)

    def blocks_in_use(self, request: int, blocks: int, beside: Set[int]) -> int:
        """How many of the blocks that a request finds somebody holds; the others are free until it does."""
        keys, holders = self._keys.of(request), self._holders
        in_use = bisect_left(range(blocks), True, key=lambda place: keys[place] not in holders)
        while in_use < blocks and keys[in_use] in beside:
            in_use += 1
        return in_use

    def new_keys(self, request: int, first: int, computed_tokens: int) -> list[int]:
        """Keys that get a holder if a request computes so many tokens, from its block number `first` on."""
        keys = self._keys.of(request)[first : computed_tokens // self.block_tokens]
        return [key for key in keys if key not in self._idle]  # of the others there is a free copy, which goes first

    def freed_by(self, computed_tokens: Mapping[int, int]) -> int:
        """How many blocks become free if these running requests (id -> tokens in memory) give theirs back."""
        freed = 0
        leaving: Counter[int] = Counter()
        for request, tokens in computed_tokens.items():
            held = self._held[request]
            freed += self.blocks_for(tokens) - held
            leaving.update(self._keys.of(request)[:held])
        for key, holders in leaving.items():
            copies = self._copies.get(key, 1)
            freed += copies - min(copies, self._holders[key] - holders)
        return freed

    def admission(self) -> Admission:
        """Ask what waiting requests find, admitted one after another in one step."""
        return CachedAdmission(self)

    def beginnings(self) -> Beginnings:
        """Blocks are found by their hashes: no policy that goes with this cache compares requests."""
        raise PolicyError('beginnings of requests are compared by the radix cache, expected prefix_cache = "radix"')

    # A request's way ---------------------------------------------------------------------------------------

    def attach(self, request: int, tokens: int) -> int:
        """Hold the blocks that a request finds; return how many of its `tokens` they spare it, all told."""
        if request not in self._held:
            self._keys.held(request)
        held = self._held.get(request, 0)
        found = self.cached_blocks(request, tokens)
        holders, queue, take = self._holders, self._queue, self._idle.pop
        idle_before = len(self._idle)
        for key in self._keys.of(request)[held:found]:
            if key in holders:
                holders[key] += 1
            else:
                del queue[take(key)]
                holders[key] = 1
        self.free_blocks -= idle_before - len(self._idle)
        self._held[request] = found
        return found * self.block_tokens

    def fill(self, request: int, computed_tokens: int) -> None:
        """Make known the blocks that are full once so many tokens of a request are computed."""
        keys, held = self._keys.of(request), self._held[request]
        full = min(computed_tokens // self.block_tokens, len(keys))
        if full <= held:
            return
        for key in keys[held:full]:
            if key in self._holders:
                self._holders[key] += 1
                self._copies[key] = self._copies.get(key, 1) + 1
                continue
            self._outdate(key)
            self._holders[key] = 1
        self._held[request] = full

    def release(self, request: int, computed_tokens: int) -> None:
        """Take back what a request holds, its last block first."""
        keys, held, holders = self._keys.of(request), self._held.pop(request), self._holders
        new = [key for key in keys[held : computed_tokens // self.block_tokens] if key not in holders]
        self.give_back(max(0, self.blocks_for(computed_tokens) - held - len(new)))  # below 0 if a step was cut off
        for key in new:
            self._outdate(key)
        unheld = new[::-1]
        for key in reversed(keys[:held]):
            left = holders[key] - 1
            if not left:
                del holders[key]
                unheld.append(key)
            else:
                holders[key] = left
                if key in self._copies and self._copies[key] > left:
                    self._drop_copy(key)
        self._queue_up(unheld)
        self._keys.released(request)

    def retract(self, request: int, computed_tokens: int, others: int) -> None:
        """Take back what a preempted request holds; it may find its full blocks when it is resumed."""
        self._keys.name_own(request, computed_tokens // self.block_tokens)
        self.release(request, computed_tokens)

    def forget(self, request: int) -> None:
        """Note that a request has ended."""
        self._keys.forget(request)

    # Blocks ------------------------------------------------------------------------------------------------

    def take(self, blocks: int) -> None:
        """Hand out the blocks that have been free for longest. Raises `MemoryOverrun` if there are not as many."""
        super().take(blocks)
        self._pop(blocks)

    def give_back(self, blocks: int) -> None:
        """Take back blocks without keys. Raises `MemoryOverrun` if more come back than went out."""
        super().give_back(blocks)
        if blocks:
            self._append(-blocks)

    def evict_ahead(self, blocks: int) -> None:
        """Forget now what the next `blocks` blocks hold: they are as good as handed out (a stretch under way)."""
        self._pop(blocks)
        self._prepend(-blocks)

    def _pop(self, blocks: int) -> None:
        """Take blocks off the head of the queue."""
        queue = self._queue
        while blocks > 0:
            _, entry = queue.popitem(last=False)
            if entry < 0:
                blocks += entry
            else:
                del self._idle[entry]
                blocks -= 1
        self._prepend(blocks)  # what is left of the last entry

    def _prepend(self, entry: int) -> None:
        if entry:
            self._queue.move_to_end(self._append(entry), last=False)

    def _append(self, entry: int) -> int:
        self._serial += 1
        self._queue[self._serial] = entry
        return self._serial

    def _queue_up(self, keys: list[int]) -> None:
        """Put blocks at the end of the queue that keep their keys."""
        places = range(self._serial + 1, self._serial + 1 + len(keys))
        self._queue.update(zip(places, keys, strict=True))
        self._idle.update(zip(keys, places, strict=True))
        self._serial += len(keys)
        self.free_blocks += len(keys)

    def _outdate(self, key: int) -> None:
        """Where a block is computed again, the older copy stays in its place without a name."""
        if key in self._idle:
            self._queue[self._idle.pop(key)] = -1

    def _drop_copy(self, key: int) -> None:
        self._copies[key] -= 1
        if self._copies[key] == 1:
            del self._copies[key]
        self.give_back(1)

    def check(self) -> None:
        """Raise `MemoryOverrun` unless the queue holds as many blocks as are free, and no more keys than it should."""
        queued = sum(-entry if entry < 0 else 1 for entry in self._queue.values())
        known = {entry: place for place, entry in self._queue.items() if entry >= 0}
        if queued != self.free_blocks or known != self._idle or self._holders.keys() & self._idle.keys():
            raise MemoryOverrun(f"{queued} KV blocks queued, {self.free_blocks} free; {len(known)} known to be cached")


class CachedAdmission:
    """What waiting requests find in a cache, one after another in one step (scheduler.Admission)."""

    def __init__(self, cache: PrefixCache) -> None:
        self._cache = cache
        self._taken: set[int] = set()  # keys that requests of this step hold by then
        self._asked = (-1, 0, 0)  # the latest request, the blocks that it finds, and those of them in use

    def found(self, request: RequestView) -> tuple[int, int]:
        """Tokens that the request need not compute, and how many of their blocks are in use already."""
        cache, id = self._cache, request.id
        blocks = cache.cached_blocks(id, request.tokens_to_prefill, self._taken)
        in_use = cache.blocks_in_use(id, blocks, self._taken) if blocks else 0
        self._asked = (id, blocks, in_use)
        return blocks * cache.block_tokens, in_use

    def add(self, request: RequestView, tokens: int) -> None:
        """Go on from where this request computes so many tokens in this step."""
        cache, computed = self._cache, request.computed_tokens
        first = computed // cache.block_tokens
        if not computed:  # it is admitted, and holds what it finds
            if self._asked[0] != request.id:
                self.found(request)
            _, first, in_use = self._asked
            self._taken.update(cache.keys(request.id)[in_use:first])
            computed = first * cache.block_tokens
        self._taken.update(cache.new_keys(request.id, first, computed + tokens))
