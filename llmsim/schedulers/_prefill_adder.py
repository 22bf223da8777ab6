"""SGLang's PrefillAdder (schedule_policy.py): which waiting requests a step has memory and budget for.

Not a policy: `sglang.py` asks it. A name with an underscore is none that a scenario could give.
"""

from __future__ import annotations

from typing import Literal

from llmsim.request import RequestView
from llmsim.scheduler import Admission, InstanceLimits, InstanceView

CLIP_TOKENS = 4096  #: most output tokens that a request is reckoned with
UNBOUNDED_TOKENS = 1 << 30  #: what a request asks for that names no bound
#: what becomes of a candidate, or may become of the next one: "no token" is memory, "other" is a budget
Verdict = Literal["go on", "no token", "other"]


class PrefillAdder:
    """The prompts of one step, taken one by one (SGLang's PrefillAdder). Budgets are charged in whole pages."""

    def __init__(self, view: InstanceView, ratio: float, max_prefill_tokens: int, chunk_tokens: int | None) -> None:
        self._view = view
        self._page = view.block_tokens
        self._ratio = ratio
        self._decoding = [request for request in view.running if not request.tokens_to_prefill]
        self._free = view.free_blocks * self._page  # less what is locked for those that were taken
        self._later: float = sum(
            min(asked_tokens(request, view) - seen_tokens(request, view), CLIP_TOKENS) * self._ratio_of(request)
            for request in self._decoding
        )
        self._now = 0  # reserved for this step; `_later`: for this step and all that follows
        self._input = max_prefill_tokens
        self._chunk = chunk_tokens  # None: no chunks
        self._admission: Admission = view.admission()
        self._taken: list[RequestView] = []
        self._ends: list[tuple[float, int]] | None = None  # tokens left and held of requests that ignore EOS, sorted
        self.tokens: dict[int, int] = {}  #: request id -> tokens to prefill
        self.cut = False  #: the last one is a chunk that others follow

    def verdict(self) -> Verdict:
        """Whether there is memory and budget for one more."""
        if self._free - self._later <= 0 or self._free - self._now <= 0:
            return "no token"
        if self._input <= 0 or (self._chunk is not None and self._chunk <= 0):
            return "other"
        return "go on"

    def go_on(self, request: RequestView) -> bool:
        """Take the next chunk of a prompt under way, at least something of it; return whether others follow."""
        assert self._chunk is not None
        most = min(self._chunk, int(self._free - self._later))
        if most <= 0:
            most = self._chunk
        wanted = request.tokens_to_prefill
        return self._take(request, wanted, most)

    def add(self, request: RequestView) -> Verdict:
        """Take a waiting request, or as much of its prompt as may be, or refuse it."""
        cached, in_use = self._admission.found(request)
        extend = request.tokens_to_prefill - cached
        if request.ignore_eos and not self._view.caches_prefixes:
            if not self._ends_fit(request, extend):
                return "no token"
        else:
            output = min(max(asked_tokens(request, self._view) - request.emitted_tokens, 0), CLIP_TOKENS)
            locked = cached - in_use * self._page
            if extend + output + self._page >= self._free - locked - self._later:
                return "no token"
            if self._chunk is None and self._pages(extend) >= self._input and self.tokens:
                return "other"
            self._free -= locked
        self.cut = self._chunk is not None and self._pages(extend) > self._chunk
        most = extend if self._chunk is None else self._chunk
        if self.cut:
            most = most // self._page * self._page
            if not most:
                self.cut = False
                return "other"
        self._admission.add(request, min(extend, most))
        self._take(request, extend, most)
        return self.verdict()

    def _take(self, request: RequestView, wanted: int, most: int) -> bool:
        """Put a request into the batch, reserve for it, and return whether it is cut: then not for its output yet."""
        cut = wanted > most
        tokens = self.tokens[request.id] = min(wanted, most)
        pages = self._pages(tokens)
        self._later += pages + self._page + (0 if cut else min(asked_tokens(request, self._view), CLIP_TOKENS))
        self._now += pages + self._page
        self._input -= pages
        if self._chunk is not None:
            self._chunk -= pages
        self._taken.append(request)
        return cut

    def _ends_fit(self, request: RequestView, extend: int) -> bool:
        """Whether memory lasts until each request ends, the one with the fewest tokens left first, and frees its own.

        For requests that ignore EOS, without a prefix cache.
        """
        needed = self._pages(extend) + self._page
        rest = self._free - self._now
        if needed > min(rest, self._free - self._later):
            return False
        end = self._end_of(request)
        if self._ends is None:
            ends = [self._end_of(other) for other in (request, *self._decoding, *self._taken)]
            self._ends = sorted((each for each in ends if each[0] > 0), key=lambda each: each[0])
        elif end[0] > 0:
            places = (place for place, (left, _) in enumerate(self._ends) if end[0] <= left)
            self._ends.insert(next(places, max(len(self._ends) - 1, 0)), end)
        freed = 0
        for place, (left, held) in enumerate(self._ends):
            sequences = len(self._ends) - place
            if rest - needed + freed - left * sequences <= sequences:
                return False
            freed += held
        return True

    def _end_of(self, request: RequestView) -> tuple[float, int]:
        """Output tokens that a request is reckoned to have left, and the tokens that its end sets free."""
        seen = seen_tokens(request, self._view)
        return asked_tokens(request, self._view) * self._ratio_of(request) - seen, request.prompt_tokens + seen

    def _ratio_of(self, request: RequestView) -> float:
        return 1.0 if request.ignore_eos else self._ratio

    def _pages(self, tokens: int) -> int:
        return -(-tokens // self._page) * self._page


def seen_tokens(request: RequestView, view: InstanceView) -> int:
    """Output tokens of a request that the engine has seen: those in flight it has not."""
    return request.emitted_tokens - view.tokens_in_flight(request)


def asked_tokens(request: RequestView, limits: InstanceLimits) -> int:
    """SGLang's max_new_tokens of a request: what it asks for, clipped to what an empty instance could serve."""
    asked = UNBOUNDED_TOKENS if request.max_tokens is None else request.max_tokens
    most = most_tokens(limits) - request.prompt_tokens - 1
    return min(asked, most, most_that_ignores_eos(request, limits))


def most_that_ignores_eos(request: RequestView, limits: InstanceLimits) -> int:
    """Output tokens that an empty pool without a tree still admits of a request that ignores EOS; else all there is.

    The test is strict there, against one token and a page beside the prompt, which is rounded up to whole pages.
    """
    if not request.ignore_eos or limits.caches_prefixes:
        return UNBOUNDED_TOKENS
    return (limits.total_blocks - 2) * limits.block_tokens - request.prompt_tokens - 1


def most_tokens(limits: InstanceLimits) -> int:
    """Tokens that a request may have; the page that admission reserves beside is not among them."""
    return min(limits.max_model_len, (limits.total_blocks - 1) * limits.block_tokens + 1) - 1
