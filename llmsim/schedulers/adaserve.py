"""AdaServe: each request drafts as many tokens as its SLO needs, of a budget that all share (arXiv 2501.12162).

Each step verifies at most `verify_tokens` of all decoding requests: one of each, and drafted ones. Requests that are
behind the time per token that they declare are served first, the furthest behind before the others: each gets drafts
until it is expected to have caught up with the end of the step. What is left goes to the drafts that are most likely
to be accepted, of any request. How likely that is tells `RequestView.acceptance`, of the requests of a class alike:
the paper has it of each token from the drafter, and verifies trees; here drafts are chains, unless the acceptance that
is given is that of trees. Prompts are computed beside that in chunks, as in chunked prefill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from math import inf, isnan

from llmsim.acceptance import PER_TOKEN
from llmsim.request import RequestView
from llmsim.scheduler import Decision, InstanceView, positive
from llmsim.schedulers.chunked_prefill import ChunkedPrefill


@dataclass(frozen=True)
class AdaServe(ChunkedPrefill):
    """Speculates as SLOs need it. `max_num_batched_tokens` is of a step's prompts and verified tokens together."""

    max_num_batched_tokens: int = 1024
    max_num_seqs: int = 64
    verify_tokens: int = 192  #: most tokens of all decoding requests that a step verifies, while they are no more
    #: how deep drafts may go however many requests share the budget; they go deeper where that allows it
    min_drafts: int = 4

    asks_every_step = True
    chooses_drafts = True
    needs_speculation = True

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(verify_tokens=self.verify_tokens, min_drafts=self.min_drafts)

    def schedule(self, view: InstanceView) -> Decision:
        """Share out the budget for verification, then compute prompts beside it."""
        decoding = [request for request in view.decoding if not view.rests(request)]
        drafts = self._drafts(decoding, view)
        verified = len(decoding) + sum(drafts)
        decision = self._decide(view, lambda _, wanted, left: min(wanted, left - verified))
        of = {request.id: k for request, k in zip(decoding, drafts, strict=True)}
        return decision._replace(drafts={id: k for id, k in of.items() if id not in decision.preempt})

    def _drafts(self, decoding: Sequence[RequestView], view: InstanceView) -> list[int]:
        """How many tokens each of these drafts."""
        if not decoding:
            return []
        gains = [request.acceptance for request in decoding]
        most = max(map(len, gains)) - 1
        share = self.verify_tokens // len(decoding) - 1
        depth = min(most, max(self.min_drafts, share))
        context = sum(request.prompt_tokens + request.emitted_tokens for request in decoding)
        step_s = view.step_time_s((), len(decoding), context, {min(most, max(share, 0)): len(decoding)})
        needed = [needed_tokens(request, view.now_s + step_s) for request in decoding]
        return [size - 1 for size in sizes(needed, [each[: depth + 1] for each in gains], self.verify_tokens)]


def needed_tokens(request: RequestView, end_s: float) -> float:
    """Tokens that a request must gain in the step up to `end_s` to keep its time per token; -inf: it declares none."""
    bound_s = None if request.slo is None else request.slo.per_token_s
    if not bound_s or isnan(request.first_token_s):
        return -inf
    return (end_s - request.first_token_s) / bound_s - (request.emitted_tokens - 1)


def sizes(needed: Sequence[float], gains: Sequence[Sequence[int]], budget: int) -> list[int]:
    """Share out so many tokens to verify: how many each request gets, its one token and drafted ones; at least one.

    `needed`: tokens that each is to gain; `gains`: what 1, 2, ... verified tokens of each are expected to yield,
    hundredths. First, of the one that needs most to the one that needs least, as few as yield what is needed; then one
    after another where it yields most.
    """
    if sum(map(len, gains)) <= budget:
        return [len(each) for each in gains]
    size = [1] * len(needed)
    left = budget - len(needed)
    for i in sorted(range(len(needed)), key=lambda i: -needed[i]):
        while left > 0 and size[i] < len(gains[i]) and gains[i][size[i] - 1] < PER_TOKEN * needed[i]:
            size[i] += 1
            left -= 1
    more = [(gains[i][n - 1] - gains[i][n], i) for i, n in enumerate(size) if n < len(gains[i])]
    heapify(more)
    while left > 0 and more:
        i = more[0][1]
        n = size[i] = size[i] + 1
        left -= 1
        if n < len(gains[i]):
            heapreplace(more, (gains[i][n - 1] - gains[i][n], i))
        else:
            heappop(more)
    return size
