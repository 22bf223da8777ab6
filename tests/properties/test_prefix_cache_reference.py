"""The prefix cache against a list of blocks, each an object of its own, as an engine keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.engine.prefix_cache import BlockKeys, PrefixCache
from llmsim.errors import MemoryOverrun
from llmsim.workload.prefixes import Prefixes, chained

SIZE = 4


@dataclass(eq=False)
class Block:
    holds: tuple | None = None  # all tokens up to its end
    users: int = 0


@dataclass
class Reference:
    """Every free block in one list, the next to be handed out first; looked through from end to end each time."""

    texts: list[list[int]]
    free: list[Block]
    tables: dict[int, list[Block]] = field(default_factory=dict)
    every: list[Block] = field(default_factory=list)

    def __post_init__(self):
        self.every = list(self.free)

    def named(self, request, block):
        return tuple(self.texts[request][: (block + 1) * SIZE])

    def found(self, request, tokens):
        blocks = []
        for place in range((tokens - 1) // SIZE):
            there = [b for b in self.every if b.holds == self.named(request, place)]
            if not there:
                break
            blocks.append(max(there, key=lambda b: b.users))
        return blocks

    def admit(self, request, tokens):
        self.tables[request] = self.found(request, tokens)
        for block in self.tables[request]:
            if block in self.free:
                self.free = [b for b in self.free if b is not block]
            block.users += 1
        return len(self.tables[request]) * SIZE

    def compute(self, request, upto):
        table = self.tables[request]
        while len(table) * SIZE < upto:
            block = self.free.pop(0)
            block.holds, block.users = None, 1
            table.append(block)
        for place, block in enumerate(table[: upto // SIZE]):
            block.holds = self.named(request, place)

    def release(self, request):
        for block in reversed(self.tables.pop(request)):
            block.users -= 1
            if block.users == 0:
                self.free.append(block)


def setup(texts, blocks):
    """Both memories for requests whose tokens are given, block by block; own tokens follow the common ones."""
    parts = [[tuple(text[i : i + SIZE]) for i in range(0, len(text), SIZE)] for text in texts]
    numbers = {part: n for n, part in enumerate(sorted({p for ps in parts for p in ps}))}
    ids = chained([numbers[p] for p in ps] for ps in parts)
    ends = [min((k + 1) * SIZE, len(text)) for text, ps in zip(texts, parts, strict=True) for k in range(len(ps))]
    start = np.cumsum([0, *(len(ps) for ps in parts)])
    keys = BlockKeys(Prefixes(np.array(ids, dtype=np.int64), np.array(ends, dtype=np.int64), start), SIZE)
    own = [[*text, *(("own", request, k) for k in range(100))] for request, text in enumerate(texts)]
    return PrefixCache(blocks, SIZE, keys), Reference(own, [Block() for _ in range(blocks)])


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_it_finds_what_a_list_of_blocks_finds(data):
    """Admit, compute on, release and preempt at random; what every request would find must agree at every point.

    Texts are cut so that nobody computes again what somebody has computed: the case in which an engine has copies of
    a block, and which of them goes first is not told apart here.
    """
    stems = st.lists(st.integers(0, 1), min_size=1, max_size=12)
    texts = data.draw(st.lists(stems, min_size=1, max_size=6))
    cache, reference = setup(texts, data.draw(st.integers(8, 24)))
    computed: dict[int, int] = {}
    longest = [len(text) for text in texts]
    for _ in range(data.draw(st.integers(1, 40))):
        request = data.draw(st.integers(0, len(texts) - 1))
        if request not in computed:
            tokens = longest[request] + 1 + data.draw(st.integers(0, SIZE - 1))  # a token of its own at the end
            tokens += tokens % SIZE == 0  # or its last block would be computed again when it is resumed
            if cache.blocks_for(tokens) > cache.free_blocks:
                continue
            found = cache.attach(request, tokens)
            assert found == reference.admit(request, tokens)
            cache.take(cache.blocks_for(tokens) - cache.blocks_for(found))
        elif data.draw(st.booleans()):
            tokens = computed[request] + data.draw(st.integers(1, 9))
            more = cache.blocks_for(tokens) - cache.blocks_for(computed[request])
            if more > cache.free_blocks or tokens > 90:
                continue
            cache.take(more)
        else:
            freed = cache.free_blocks + cache.freed_by({request: computed[request]})
            cache.name_own(request, computed[request])
            cache.release(request, computed.pop(request))
            reference.release(request)
            assert cache.free_blocks == freed
            tokens = 0
        if tokens:
            computed[request] = longest[request] = tokens
            cache.fill(request, tokens)
            reference.compute(request, tokens)
        cache.check()
        assert cache.free_blocks == len(reference.free)
        for other in range(len(texts)):
            if other not in computed:
                assert cache.cached_blocks(other, 90) == len(reference.found(other, 90))
    for request in list(computed):
        cache.release(request, computed[request])
    cache.check()

    assert cache.free_blocks == cache.total_blocks


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_copies_of_a_block_are_counted_and_come_back(data):
    """Equal prompts of whole blocks, in chunks of any size: every request computes its last block anew."""
    text = [0] * data.draw(st.sampled_from([4, 8, 12]))
    n = data.draw(st.integers(2, 4))
    cache, reference = setup([text] * n, 30)
    computed: dict[int, int] = {}
    for _ in range(data.draw(st.integers(1, 25))):
        request = data.draw(st.integers(0, n - 1))
        if request not in computed:
            computed[request] = cache.attach(request, len(text))
            assert computed[request] == reference.admit(request, len(text))
        elif computed[request] < len(text):
            more = data.draw(st.integers(1, len(text) - computed[request]))
            cache.take(cache.blocks_for(computed[request] + more) - cache.blocks_for(computed[request]))
            computed[request] += more
            cache.fill(request, computed[request])
            reference.compute(request, computed[request])
        else:
            freed = cache.free_blocks + cache.freed_by({request: computed[request]})
            cache.release(request, computed.pop(request))
            reference.release(request)
            assert cache.free_blocks == freed
        cache.check()
        assert cache.free_blocks <= len(reference.free) <= cache.free_blocks + n  # see prefix_cache on copies
    for request in list(computed):
        cache.release(request, computed[request])
        reference.release(request)
    cache.check()

    assert cache.free_blocks == cache.total_blocks == len(reference.free)


def test_more_than_there_is_is_refused_and_a_broken_queue_is_found():
    cache, _ = setup([[0] * 8], 2)
    cache.attach(0, 9)
    with pytest.raises(MemoryOverrun):
        cache.take(3)
    cache.take(2)
    cache.fill(0, 8)
    cache.release(0, 8)
    cache.free_blocks -= 1
    with pytest.raises(MemoryOverrun, match="2 KV blocks queued, 1 free"):
        cache.check()
