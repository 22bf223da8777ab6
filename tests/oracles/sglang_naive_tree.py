"""SGLang's prefix cache as plainly as possible: a radix tree of tokens, one slot each (page_size 1).

Independent of llmsim; for sglang_naive.py.
"""

from __future__ import annotations

import itertools


class Node:
    def __init__(self, parent, tokens):
        self.parent, self.tokens, self.children = parent, tokens, {}
        self.locks = self.stamp = 0


class Tree:
    """A radix tree of tokens; of each node: how many requests lock it, and when it was last touched."""

    def __init__(self):
        self.root = Node(None, ())
        self.root.locks = 1
        self.clock = itertools.count(1)

    def touch(self, node):
        node.stamp = next(self.clock)

    def split(self, node, at):
        upper = Node(node.parent, node.tokens[:at])
        upper.locks, upper.children = node.locks, {node.tokens[at]: node}
        node.parent.children[node.tokens[0]] = upper
        node.parent, node.tokens = upper, node.tokens[at:]
        self.touch(upper)
        self.touch(node)
        return upper

    def walk(self, tokens, touch=True):
        """Go as far as these tokens lead, and cut a node in two that they end in; return the last one, and how far."""
        node, at = self.root, 0
        path = [node]
        while at < len(tokens) and (child := node.children.get(tokens[at])):
            same = 0
            while same < len(child.tokens) and at + same < len(tokens) and child.tokens[same] == tokens[at + same]:
                same += 1
            at += same
            if same < len(child.tokens):
                path.append(self.split(child, same))
                break
            node = child
            path.append(node)
        for node in path if touch else ():
            self.touch(node)
        return path[-1], at

    def insert(self, tokens, prompt):
        """Put tokens in; return how many were there already. The prompt's end is the end of a node."""
        node, at = self.walk(tokens)
        if at < len(tokens):
            new = Node(node, tokens[at:])
            node.children[tokens[at]] = new
            self.touch(new)
        if len(tokens) > prompt:
            self.walk(tokens[:prompt], touch=False)
        return at

    def lock(self, node, by):
        while node is not self.root:
            node.locks += by
            node = node.parent

    def nodes(self):
        todo = list(self.root.children.values())
        while todo:
            node = todo.pop()
            todo += node.children.values()
            yield node

    def size(self):
        return sum(len(node.tokens) for node in self.nodes())

    def evictable(self):
        return sum(len(node.tokens) for node in self.nodes() if not node.locks)

    def evict(self, tokens):
        while tokens > 0:
            leaves = [node for node in self.nodes() if not node.locks and not node.children]
            if not leaves:
                return
            oldest = min(leaves, key=lambda node: node.stamp)
            del oldest.parent.children[oldest.tokens[0]]
            tokens -= len(oldest.tokens)

    def found(self, tokens):
        """How many of these tokens are there; nothing is touched."""
        node, at = self.root, 0
        while at < len(tokens) and (node := node.children.get(tokens[at])):
            for token in node.tokens:
                if at == len(tokens) or token != tokens[at]:
                    return at
                at += 1
        return at
