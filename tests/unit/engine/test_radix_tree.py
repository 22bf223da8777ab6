"""The radix tree of spans against the naive one of tokens, and its locks and evictions by hand."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.engine.radix_tree import RadixTree, Spans
from tests.oracles.sglang_naive_tree import Tree

NO_END = 1 << 30


def spans_of(parts, request, prompt):
    """Parts are (letter, blocks): a name stands for all letters up to its own."""
    names, ends, word = [], [], ""
    for letter, blocks in parts:
        word += letter
        names.append(hash(("part", word)))
        ends.append((ends[-1] if ends else 0) + blocks)
    return Spans([*names, -request - 1], [*ends, NO_END], prompt)


def tokens_of(spans, upto):
    names = []
    for name, end in zip(spans.names, spans.ends, strict=True):
        names += [(name, place) for place in range(len(names), min(end, upto))]
    return tuple(names)


requests = st.lists(
    st.tuples(
        st.lists(st.sampled_from("ab"), max_size=4).map(lambda word: [(letter, 3) for letter in word]),
        st.integers(1, 12),  # blocks of the prompt
        st.integers(0, 8),  # blocks of the output
    ),
    min_size=1,
    max_size=12,
)
acts = st.lists(st.tuples(st.sampled_from(["insert", "match", "lock", "unlock", "evict"]), st.integers(0, 11)))


@settings(max_examples=300, deadline=None)
@given(requests=requests, acts=acts)
def test_it_is_the_naive_tree(requests, acts):
    tree, naive, held = RadixTree(), Tree(), {}
    spans = [spans_of(parts, number, prompt) for number, (parts, prompt, _) in enumerate(requests)]
    for act, number in acts:
        own = spans[number % len(spans)]
        upto = own.prompt + requests[number % len(spans)][2]
        tokens = tokens_of(own, upto)
        if act == "insert":
            assert tree.insert(own, upto) == naive.insert(tokens, own.prompt)
        elif act == "match":
            assert tree.match(own, own.prompt).end == naive.walk(tokens[: own.prompt])[1]
        elif act == "lock" and number not in held:
            held[number] = tree.match(own, upto), naive.walk(tokens)[0]
            tree.lock(held[number][0])
            naive.lock(held[number][1], 1)
        elif act == "unlock" and number in held:
            ours, theirs = held.pop(number)
            tree.unlock(ours)
            naive.lock(theirs, -1)
        elif act == "evict":
            before = naive.size()
            naive.evict(number)
            assert tree.evict(number) == before - naive.size()
        assert tree.unlocked_blocks == naive.evictable()
        assert [tree.found(each, 20) for each in spans] == [naive.found(tokens_of(each, 20)) for each in spans]


def test_the_output_goes_before_its_prompt():
    tree = RadixTree()
    one = spans_of([("a", 4)], 0, 6)
    tree.insert(one, 10)

    assert tree.evict(1) == 4  # the whole leaf: the output
    assert tree.found(one, 10) == 6


def test_what_is_locked_stays_with_all_above_it():
    tree = RadixTree()
    one, other = spans_of([("a", 4)], 0, 6), spans_of([("a", 4)], 1, 6)
    tree.insert(one, 6)
    tree.insert(other, 6)
    node = tree.match(one, 6)
    tree.lock(node)

    assert tree.unlocked_blocks == 2
    assert tree.evict(100) == 2
    assert tree.found(one, 6) == 6
    assert tree.found(other, 6) == 4
    tree.unlock(node)
    assert tree.evict(100) == 6


def test_stale_candidates_do_not_pile_up():
    tree = RadixTree()
    one = spans_of([], 0, 6)
    tree.insert(one, 6)
    for _ in range(10_000):
        tree.match(one, 6)

    assert len(tree._candidates) < 100
    assert tree.evict(1) == 6
