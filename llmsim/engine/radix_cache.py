"""KV memory with a radix tree of what it holds: prefix caching as SGLang 0.5.23 does it (`UnifiedRadixCache`).

A request looks up what the tree has of it when it may be admitted, and locks that. What it computes is its own until a
chunk, its prompt or its output is complete; then it is put into the tree, and where the tree has the same already, the
copy is freed. So requests of one prefill batch do not share what they compute in it. A request whose memory is taken
back (retracted) leaves nothing behind. Blocks that no request uses stay until memory is short, least recently used
leaves first; they count as free.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

from llmsim.engine.memory import CachingMemory, Portion
from llmsim.engine.radix_tree import Node, RadixTree, Spans
from llmsim.errors import MemoryOverrun
from llmsim.request import RequestView
from llmsim.scheduler import Admission, Beginnings, Decision
from llmsim.workload.contract import Workload

RETRACT_TOKENS = 20  #: so many tokens for each request that goes on are freed with a retraction, if need be
EOS = -1  #: name of the token that ends a sequence
_NO_END = 1 << 62  #: blocks; the own tokens of a request go on for ever


class SpansOfRequests:
    """What the blocks of each request hold: what it shares with others, then its own."""

    def __init__(self, requests: Workload, block_tokens: int) -> None:
        prefixes, asked = requests.prefixes, requests.asked
        self._prompt_tokens = requests.prompt_tokens
        self._total_tokens = requests.prompt_tokens + requests.output_tokens
        self._by_length = None if asked is None else asked.max_tokens == requests.output_tokens
        self._prefixes = None if prefixes is None else prefixes.recurring()
        self._block_tokens = block_tokens
        self._first_own = 0 if self._prefixes is None else int(self._prefixes.ids.max(initial=-1)) + 1
        self._spans: dict[int, Spans] = {}

    def of(self, request: int) -> Spans:
        """Spans of a request; a block belongs to the part that its last token is in."""
        spans = self._spans.get(request)
        if spans is None:
            spans = self._spans[request] = self._spans_of(request)
        return spans

    def _spans_of(self, request: int) -> Spans:
        names: list[int] = []
        ends: list[int] = []
        if self._prefixes is not None:
            for name, end in zip(*(part.tolist() for part in self._prefixes.of(request)), strict=True):
                blocks = end // self._block_tokens
                if blocks > (ends[-1] if ends else 0):
                    names.append(name)
                    ends.append(blocks)
        names.append(self._first_own + request)
        ends.append(_NO_END)
        if self._block_tokens == 1 and (self._by_length is None or not self._by_length[request]):
            names, ends = _with_eos(names, ends, int(self._total_tokens[request]))
        return Spans(names, ends, int(self._prompt_tokens[request]) // self._block_tokens)

    def forget(self, request: int) -> None:
        """Drop what is known of a request that has ended."""
        self._spans.pop(request, None)


def _with_eos(names: list[int], ends: list[int], tokens: int) -> tuple[list[int], list[int]]:
    """Let the last of so many tokens be the end of the sequence: one token, the same in all requests.

    It is in the cache only if a token was computed after it, in vain.
    """
    last = bisect_left(ends, tokens - 1)  # the span of the token before it
    return [*names[: last + 1], EOS, names[-1]], [*ends[:last], tokens - 1, tokens, _NO_END]


class RadixCache(CachingMemory):
    """Blocks of which a radix tree knows what they hold."""

    __slots__ = ("_held", "_spans", "_spare", "_tree")

    learns_when_computed = True
    keeps_in_vain = True

    def __init__(self, total_blocks: int, block_tokens: int, spans: SpansOfRequests) -> None:
        super().__init__(total_blocks, block_tokens)
        self._spans = spans
        self._tree = RadixTree()
        self._spare = total_blocks  # free, and not in the tree
        self._held: dict[int, Node] = {}  # request -> the end of what it shares with the tree

    # Looking -----------------------------------------------------------------------------------------------

    @property
    def idle_blocks(self) -> int:
        """Blocks with something that is cached and no request uses."""
        return self._tree.unlocked_blocks

    def cached_blocks(self, request: int, tokens: int, ahead: int = 0) -> int:
        """How many blocks a request finds if it has `tokens` to compute: all but the last one may be found."""
        return self.found_blocks(request, tokens - 1)

    def found_blocks(self, request: int, tokens: int) -> int:
        """How many full blocks of the first `tokens` tokens of a request are there."""
        return self._tree.found(self._spans.of(request), tokens // self.block_tokens)

    def admission(self, chunks: Sequence[Portion], decode_blocks: int, decode: bool) -> Admission:
        """Ask what waiting requests find, admitted one after another; chunks of this step are not in the tree yet."""
        return RadixAdmission(self)

    def beginnings(self) -> Beginnings:
        """Compare requests with each other."""
        return BeginningsInCache(self)

    def spans(self, request: int) -> Spans:
        """What the blocks of a request hold."""
        return self._spans.of(request)

    def path(self, request: int, tokens: int) -> list[tuple[Node, int]]:
        """The same node by node."""
        return list(self._tree.path(self._spans.of(request), tokens // self.block_tokens))

    def freed_by(self, computed_tokens: Mapping[int, int]) -> int:
        """How many blocks become free if these running requests (id -> tokens in memory) give theirs back."""
        freed = 0
        leaving: Counter[Node] = Counter()
        for request, tokens in computed_tokens.items():
            node: Node | None = self._held[request]
            assert node is not None
            freed += self.blocks_for(tokens) - node.end
            while node is not None and node.parent is not None:
                leaving[node] += 1
                node = node.parent
        return freed + sum(node.blocks for node, locks in leaving.items() if node.locks == locks)

    def look_up(self, request: int, tokens: int) -> None:
        """Let the first `tokens` tokens of a request be the most recently used."""
        self._tree.match(self._spans.of(request), tokens // self.block_tokens)

    # A request's way ---------------------------------------------------------------------------------------

    def begin_step(
        self, decision: Decision, chunks: Sequence[Portion], admitted: Sequence[Portion], decode_blocks: int
    ) -> None:
        """Hold what all admitted requests find, before memory is handed out to any of them."""
        for request, _ in admitted:
            self.attach(request.id, request.tokens_to_prefill)

    def attach(self, request: int, tokens: int) -> int:
        """Hold what a request finds that has `tokens` to compute; return how many of them it is spared."""
        spans, upto = self._spans.of(request), (tokens - 1) // self.block_tokens
        if request not in self._held:
            path = list(self._tree.path(spans, upto))
            if path and path[-1][1] < path[-1][0].blocks:  # looked up it would end a node
                self._tree.match(spans, upto)
                path = list(self._tree.path(spans, upto))
            self._hold(request, path[-1][0] if path else self._tree.root)
        return self._held[request].end * self.block_tokens

    def _hold(self, request: int, node: Node) -> None:
        self._tree.lock(node)
        self._held[request] = node
        self._count()

    def computed(self, request: int, tokens: int) -> None:
        """Put in what is computed of a request that goes on, up to `tokens`, and hold it there."""
        before = self._held.pop(request)
        upto = self._put(request, before, tokens)
        self._hold(request, self._tree.match(self._spans.of(request), upto))

    def release(self, request: int, computed_tokens: int) -> None:
        """Take back what a request holds, and keep in the tree what it has computed."""
        before = self._held.pop(request)
        upto = self._put(request, before, computed_tokens)
        self._spare += self.blocks_for(computed_tokens) - upto
        self._count()

    def _put(self, request: int, before: Node, tokens: int) -> int:
        """Put the full blocks of a request into the tree, give back those that are there twice, and unlock."""
        upto = tokens // self.block_tokens
        there = self._tree.insert(self._spans.of(request), upto)
        self._spare += there - before.end
        self._tree.unlock(before)
        return upto

    def retract(self, request: int, computed_tokens: int, others: int) -> None:
        """Take back what a request holds without keeping it, and make room for the `others` that go on."""
        node = self._held.pop(request)
        self._tree.unlock(node)
        self._spare += self.blocks_for(computed_tokens) - node.end
        self._make_room(self.blocks_for(RETRACT_TOKENS * others))
        self._count()

    def forget(self, request: int) -> None:
        """Note that a request has ended."""
        self._spans.forget(request)

    # Blocks ------------------------------------------------------------------------------------------------

    def take(self, blocks: int) -> None:
        """Hand out blocks, evicting what is missing. Raises `MemoryOverrun` if there are not as many."""
        if blocks > self.free_blocks:
            raise MemoryOverrun(f"{blocks} KV blocks taken, {self.free_blocks} of {self.total_blocks} free")
        self._make_room(blocks)
        self._spare -= blocks
        self._count()

    def give_back(self, blocks: int) -> None:
        """Take back blocks that a request holds alone."""
        self._spare += blocks
        self._count()

    def evict_ahead(self, blocks: int) -> None:
        """Forget now what the next `blocks` blocks hold: they are as good as handed out (a stretch under way)."""
        self._make_room(blocks)

    def _make_room(self, blocks: int) -> None:
        if blocks > self._spare:
            self._spare += self._tree.evict(blocks - self._spare)

    def _count(self) -> None:
        self.free_blocks = self._spare + self._tree.unlocked_blocks

    def check(self) -> None:
        """Raise `MemoryOverrun` unless nothing is held or locked, and what is free is counted right."""
        cached, unlocked = self._tree.blocks(), self._tree.unlocked_blocks
        if self._held or cached != unlocked or self.free_blocks != self._spare + cached:
            raise MemoryOverrun(
                f"{cached} KV blocks cached and {self._spare} spare, expected all to be unlocked ({unlocked}) and free "
                f"({self.free_blocks})"
            )


class RadixAdmission:
    """What waiting requests find in a radix tree, one after another in one step (scheduler.Admission)."""

    def __init__(self, cache: RadixCache) -> None:
        self._cache = cache
        self._taken: dict[Node, int] = {}  # blocks of unlocked nodes that requests of this step lock

    def found(self, request: RequestView) -> tuple[int, int]:
        """Tokens that the request need not compute, and how many of their blocks are in use already."""
        path, taken = self._cache.path(request.id, request.tokens_to_prefill - 1), self._taken
        in_use = sum(blocks if node.locks else min(blocks, taken.get(node, 0)) for node, blocks in path)
        return sum(blocks for _, blocks in path) * self._cache.block_tokens, in_use

    def add(self, request: RequestView, tokens: int) -> None:
        """Go on from where this request is admitted; what it computes is not found before the next step."""
        if request.computed_tokens:
            return
        for node, blocks in self._cache.path(request.id, request.tokens_to_prefill - 1):
            self._taken[node] = max(self._taken.get(node, 0), blocks)


class BeginningsInCache:
    """Waiting requests whose beginnings are compared with each other (scheduler.Beginnings)."""

    def __init__(self, cache: RadixCache) -> None:
        self._cache = cache
        self._tree = RadixTree()

    def longest(self, request: RequestView) -> int:
        """Return how many tokens a request has in common with one of those that were added, at most."""
        blocks = request.tokens_to_prefill // self._cache.block_tokens
        return self._tree.found(self._cache.spans(request.id), blocks) * self._cache.block_tokens

    def add(self, request: RequestView) -> None:
        """Compare later ones with this one, too."""
        blocks = request.tokens_to_prefill // self._cache.block_tokens
        self._tree.insert(self._cache.spans(request.id), blocks)
