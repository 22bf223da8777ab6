"""The prefix cache, which keeps runs of blocks, against a pool of blocks that are objects (oracles/vllm_naive.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import numpy as np
import pytest

from llmsim.engine.block_paths import BlockPaths
from llmsim.engine.prefix_cache import PrefixCache
from llmsim.errors import InputError, MemoryOverrun
from llmsim.workload.prefixes import Prefixes
from tests.oracles.vllm_naive import Pool
from tests.oracles.vllm_naive import Request as NaiveRequest
from tests.places import cases

SIZE = 4
MOST = 80  # tokens of a request


def texts(random):
    """Parts of some requests: a tree of texts, cut where no block ends, the last part at any token."""
    ends = np.cumsum([random.randint(1, 10) for _ in range(8)]).tolist()
    names, requests = {}, []
    for _ in range(random.randint(1, 7)):
        path, parts = (), []
        for end in ends[: random.randint(0, 8)]:
            path = (*path, random.randint(0, 1) if random.random() < 0.4 else 0)
            parts.append([names.setdefault(path, len(names)), end])
        if parts and random.random() < 0.5:
            parts[-1][1] = random.randint(parts[-2][1] + 1 if len(parts) > 1 else 1, parts[-1][1])
        requests.append(parts)
    return requests


def prefixes(requests):
    ids, ends = zip(*(part for parts in requests for part in parts), strict=True) if any(requests) else ((), ())
    start = np.cumsum([0, *map(len, requests)])
    return Prefixes(np.array(ids, dtype=np.int64), np.array(ends, dtype=np.int64), start)


@dataclass
class Both:
    """A cache and a pool to which the same is done."""

    random: Random
    texts: list
    blocks: int
    computed: dict[int, int] = field(default_factory=dict)  # tokens, of requests that hold memory

    def __post_init__(self):
        self.cache = PrefixCache(self.blocks, SIZE, BlockPaths(prefixes(self.texts), SIZE))
        self.pool = Pool(self.blocks, caching=True)
        self.requests = [NaiveRequest(id, 0, 1, 1, 0, parts) for id, parts in enumerate(self.texts)]

    def found(self, id, tokens):
        request = self.requests[id]
        return self.pool.find([request.name(place, SIZE) for place in range((tokens - 1) // SIZE)])

    def act(self, id):
        if id not in self.computed:
            self.admit(id, self.random.randint(1, 60))
        elif self.random.random() < 0.6:
            self.compute(id, min(self.computed[id] + self.random.randint(1, 9), MOST))
        else:
            self.preempt(id)

    def admit(self, id, tokens):
        blocks, found = self.cache.cached_blocks(id, tokens), self.found(id, tokens)
        assert blocks == len(found)
        tokens = blocks * SIZE + self.random.randint(1, tokens - blocks * SIZE)
        if -(-tokens // SIZE) - self.cache.blocks_in_use(id, blocks) <= len(self.pool.free):
            self.cache.hold(id, blocks)
            self.pool.touch(found)
            self.requests[id].table = found
            self.compute(id, tokens)

    def compute(self, id, tokens):
        table = self.requests[id].table
        more = -(-tokens // SIZE) - len(table)
        if more > len(self.pool.free):
            return
        self.cache.take(more)
        self.cache.fill(id, tokens)
        table += self.pool.take(more)
        for place in range(tokens // SIZE):
            self.pool.name(table[place], self.requests[id].name(place, SIZE))
        self.computed[id] = tokens

    def preempt(self, id):
        tokens, free = self.computed[id], self.cache.free_blocks
        freed = self.cache.freed_by({id: tokens})
        self.check()  # asking changes nothing
        del self.computed[id]
        self.cache.retract(id, tokens, 0)
        self.pool.release(self.requests[id].table)
        assert self.cache.free_blocks == free + freed

    def check(self):
        """What every request would find, and what of it is in use, is the same here and there."""
        self.cache.check()
        assert self.cache.free_blocks == len(self.pool.free)
        for id in range(len(self.texts)):
            if id not in self.computed:
                found = self.found(id, MOST)
                assert self.cache.cached_blocks(id, MOST) == len(found)
                assert self.cache.blocks_in_use(id, len(found)) == sum(block.users > 0 for block in found)


@pytest.mark.parametrize(
    "seeds", [range(n, n + 100) for n in range(0, cases(400), 100)], ids=lambda seeds: f"{seeds[0]}"
)
def test_it_is_what_a_pool_of_blocks_is(seeds):
    copies = 0
    for seed in seeds:
        random = Random(seed)
        both = Both(random, texts(random), random.randint(6, 30))
        for _ in range(60):
            both.act(random.randrange(len(both.texts)))
            both.check()
            copies += both.cache._copies.places > 0
        for id in list(both.computed):
            both.preempt(id)
        assert both.cache.free_blocks == both.blocks
    assert copies > 50


def tried_out(both, random):
    """Some requests are admitted, computed and released in the cache alone, as a scheduler's question may have it."""
    cache, computed = both.cache, dict(both.computed)
    for _ in range(random.randint(1, 8)):
        id = random.randrange(len(both.texts))
        if id in computed and random.random() < 0.5:
            cache.release(id, computed.pop(id))
            continue
        tokens = computed.get(id, 0) + random.randint(1, 20)
        held = -(-computed[id] // SIZE) if id in computed else cache.cached_blocks(id, tokens)
        if id not in computed:
            if -(-tokens // SIZE) - cache.blocks_in_use(id, held) > cache.free_blocks:
                continue
            cache.hold(id, held)
        elif -(-tokens // SIZE) - held > cache.free_blocks:
            continue
        cache.take(-(-tokens // SIZE) - held)
        cache.fill(id, tokens)
        computed[id] = tokens


@pytest.mark.parametrize("seeds", [range(n, n + 100) for n in range(0, 500, 100)], ids=lambda seeds: f"{seeds[0]}")
def test_what_was_tried_out_is_taken_back(seeds):
    for seed in seeds:
        random = Random(seed)
        both = Both(random, texts(random), random.randint(6, 30))
        for _ in range(40):
            both.act(random.randrange(len(both.texts)))
            both.cache.begin_trial()
            tried_out(both, random)
            both.cache.end_trial(stands=False)
            both.check()


def test_more_than_there_is_is_refused_and_a_broken_queue_is_found():
    cache = PrefixCache(2, SIZE, BlockPaths(prefixes([[[0, 8]], [[0, 8]]]), SIZE))
    cache.hold(0, 0)
    with pytest.raises(MemoryOverrun):
        cache.take(3)
    cache.take(2)
    cache.fill(0, 8)
    cache.release(0, 8)
    cache.free_blocks -= 1
    with pytest.raises(MemoryOverrun, match="2 KV blocks queued, 1 free"):
        cache.check()


def test_paths_part_where_texts_do_and_turns_are_one_node():
    one, other, third = [[0, 10], [1, 20], [2, 30]], [[0, 10], [1, 20], [2, 30], [3, 44]], [[0, 10], [1, 20], [5, 33]]
    paths = BlockPaths(prefixes([one, other, third, [[7, 9]], [*third[:2], [5, 30]]]), 8)

    assert paths.of(0) == paths.of(1)  # what only one request has is not shared
    assert [paths.of(id).stops for id in range(5)] == [[2, 3], [2, 3], [2, 4], [], [2, 3]]
    assert paths.of(2).nodes == paths.of(4).nodes
    assert paths.of(2).nodes[0] == paths.of(0).nodes[0]
    assert paths.of(2).nodes[1] != paths.of(0).nodes[1]

    turns = [[[turn, 20 * (turn + 1)] for turn in range(turns + 1)] for turns in range(50)]
    paths = BlockPaths(prefixes([*turns, turns[-1]]), 8)
    assert {len(paths.of(id).nodes) for id in range(1, 51)} == {1}


def test_a_part_that_begins_elsewhere_is_refused():
    with pytest.raises(InputError, match="a part begins at token 24 of one request and elsewhere in another"):
        BlockPaths(prefixes([[[0, 24], [1, 64]], [[0, 20], [1, 64]]]), 16)
