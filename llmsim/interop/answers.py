"""What a client saw of each request, and timelines of it: chunks are known, and how many tokens came in all.

A benchmark notes when chunks of an answer came. Most often a chunk is a token. Where it is not (several tokens a
chunk, chunks without text), the tokens are spread evenly over the chunks, in order: first and last token, and so TTFT,
TPOT and E2E, are those that were measured, and the number of tokens is the one that was counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmsim.errors import InputError
from llmsim.record import Floats, Timelines
from llmsim.request import Outcome


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """One request as its client saw it; times in seconds."""

    chunks_s: Floats  #: (chunks,) ascending, after the sending
    tokens: int
    sent_s: float = 0.0  #: on any clock
    prompt_tokens: int = 0
    outcome: Outcome = Outcome.FINISHED
    end_s: float | None = None  #: after the sending; None: with the last chunk
    spread: bool = False  #: only the first and the last chunk are known
    error: str = ""

    @property
    def at_once(self) -> bool:
        """Whether several tokens came in one chunk, as when an answer is not streamed."""
        return len(self.chunks_s) == 1 and self.tokens > 1

    def token_times_s(self) -> Floats:
        """(tokens,) after the sending."""
        n, chunks = self.tokens, len(self.chunks_s)
        if n == 0 or chunks == 0:
            return np.empty(0)
        if self.spread:
            return np.linspace(self.chunks_s[0], self.chunks_s[-1], n)
        times_s = self.chunks_s if n == chunks else self.chunks_s[np.arange(n) * (chunks - 1) // max(n - 1, 1)]
        if self.end_s is not None and n > 1 and self.end_s >= times_s[-2]:
            times_s = np.append(times_s[:-1], self.end_s)
        return times_s


LEFT_OUT = "requests are left out"  #: in a note of `each`


def each(n: int, read: Callable[[int], Answer]) -> tuple[list[Answer], tuple[str, ...]]:
    """Read n requests; those that are not as they should be are left out, and a note says how many and the first.

    InputError of the first where none is left.
    """
    answers, odd = [], []
    for i in range(n):
        try:
            answers.append(read(i))
        except InputError as error:
            odd.append(error)
    if odd and not answers:
        raise odd[0]
    where = str(odd[0]).partition(": ")[2] if odd else ""
    return answers, (f"{len(odd)} of {n} {LEFT_OUT}: {where}",) if odd else ()


def timelines_of(answers: Sequence[Answer]) -> tuple[Timelines, Timelines | None]:
    """Timelines of tokens; and of chunks where these are not the tokens. Times count from the first sending."""
    sent_s = np.array([one.sent_s for one in answers], dtype=np.float64)
    sent_s -= sent_s.min() if len(sent_s) else 0.0
    tokens = [one.token_times_s() for one in answers]
    chunks = [np.empty(0) if one.spread else one.chunks_s for one in answers]
    same = all(np.array_equal(mine, theirs) for mine, theirs in zip(tokens, chunks, strict=True))
    of_tokens = _timelines(answers, sent_s, tokens)
    return of_tokens, None if same or any(one.spread for one in answers) else _timelines(answers, sent_s, chunks)


def _timelines(answers: Sequence[Answer], sent_s: Floats, times_s: Sequence[Floats]) -> Timelines:
    ends = [
        max(one.end_s or 0.0, float(times[-1]) if len(times) else 0.0)
        for one, times in zip(answers, times_s, strict=True)
    ]
    return Timelines.from_token_times(
        sent_s,
        [sent + times for sent, times in zip(sent_s, times_s, strict=True)],
        end_s=sent_s + np.array(ends, dtype=np.float64),
        outcome=[one.outcome for one in answers],
        prompt_tokens=[one.prompt_tokens for one in answers],
        output_tokens=[max(one.tokens, len(times)) for one, times in zip(answers, times_s, strict=True)],
    )
