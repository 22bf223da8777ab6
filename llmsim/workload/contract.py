"""A workload: requests, their lengths, and when they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.request import Request
from llmsim.slo import Slo
from llmsim.workload.acceptance import Acceptance
from llmsim.workload.asked import Asked
from llmsim.workload.classes import Classes
from llmsim.workload.prefixes import Prefixes
from llmsim.workload.quality import Quality
from llmsim.workload.sessions import NO_REQUEST, Sessions


@dataclass(frozen=True, eq=False)
class Workload:
    """Requests in order of arrival; all arrays have shape (requests,).

    Of a request that comes after another one (`sessions`), `arrival_s` is the earliest time that it may arrive.
    """

    arrival_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    source: str  #: where it came from, in words, for reports
    prefixes: Prefixes | None = None  #: which requests begin alike; None: not known, or none do
    predicted_output_tokens: NDArray[np.int64] | None = None  #: what policies are told; None: nothing
    classes: Classes | None = None  #: None: all are alike
    sessions: Sessions | None = None  #: which requests come after others; None: all come by themselves
    asked: Asked | None = None  #: what clients declare of the output; None: nothing
    slo: Slo | None = None  #: what clients declare of latencies, where they have no classes; None: nothing
    acceptance: Acceptance | None = None  #: of what is drafted for them; None: nothing is
    quality: Quality | None = None  #: of the answers of several models; None: not known
    user: NDArray[np.int64] | None = None  #: number of the user, or of the conversation; None: not known

    def __post_init__(self) -> None:
        n = len(self.arrival_s)
        if n == 0:
            raise InputError(f"{self.source}: no requests")
        if not len(self.prompt_tokens) == len(self.output_tokens) == n:
            raise InputError(f"{self.source}: columns differ in length")
        beside: dict[str, Sized | None] = {"users": self.user, "prefixes": self.prefixes, "quality": self.quality}
        beside["acceptance"] = self.acceptance
        for name, told in beside.items():
            if told is not None and len(told) != n:
                raise InputError(f"{self.source}: {name} of {len(told)} requests, expected {n}")
        if self.asked is not None:
            self.asked.check(self.output_tokens, self.source)
        for name, column in self.told(n + 1).items():
            if len(column) != n:
                raise InputError(f"{self.source}: {n} requests, and a {name} for {len(column)}")
        if self.sessions is not None:
            self._check_sessions(self.sessions)
        if not (np.isfinite(self.arrival_s).all() and self.arrival_s[0] >= 0):
            raise InputError(f"{self.source}: arrival_s must be finite and not negative")
        if (np.diff(self.arrival_s) < 0).any():
            raise InputError(f"{self.source}: arrivals must be in order of time")
        for name in ("prompt_tokens", "output_tokens"):
            if getattr(self, name).min() < 1:
                at = int(np.argmin(getattr(self, name)))
                raise InputError(
                    f"{self.source}: request {at} has {name} = {getattr(self, name)[at]}, expected at least 1"
                )

    def _check_sessions(self, sessions: Sessions) -> None:
        if len(sessions) != len(self.arrival_s):
            raise InputError(f"{self.source}: sessions of {len(sessions)} requests, expected {len(self.arrival_s)}")
        waits = np.flatnonzero(sessions.after != NO_REQUEST)
        early = waits[self.arrival_s[waits] < self.arrival_s[sessions.after[waits]]]
        if len(early):
            raise InputError(f"{self.source}: request {early[0]} may arrive before the one that it comes after")

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def teller(self) -> Callable[[Request], None] | None:
        """`tell`, or what does the same in less time; None where there is nothing to tell."""
        told = (self.predicted_output_tokens, self.classes, self.user, self.asked, self.acceptance, self.quality)
        if any(x is not None for x in told):
            return self.tell
        return None if self.slo is None else self._tell_slo

    def _tell_slo(self, request: Request) -> None:
        request.slo = self.slo

    def tell(self, request: Request) -> None:
        """Put on a request what its cluster knows of it beside the prompt: prediction, class, user, what it asks."""
        if self.predicted_output_tokens is not None:
            request.predicted_output_tokens = int(self.predicted_output_tokens[request.id])
        if self.classes is not None:
            self.classes.tell(request)
        elif self.slo is not None:
            request.slo = self.slo
        if self.user is not None:
            request.user = int(self.user[request.id])
        if self.asked is not None:
            request.max_tokens = int(self.asked.max_tokens[request.id])
            request.ignore_eos = bool(self.asked.ignore_eos[request.id])
        if self.acceptance is not None:
            self.acceptance.tell(request)
        if self.quality is not None:
            self.quality.tell(request)

    def told(self, requests: int) -> dict[str, NDArray[np.int64]]:
        """Return the same as columns of the first so many requests; `class` holds numbers of `classes.names`."""
        columns = {
            "predicted_output_tokens": self.predicted_output_tokens,
            "class": None if self.classes is None else self.classes.of_request,
        }
        return {name: column[:requests] for name, column in columns.items() if column is not None}

    def with_outputs(self, factor: float) -> Workload:
        """Return the same requests with outputs `factor` times as long, and what is told of them likewise.

        InputError for conversations, whose later prompts repeat their outputs.
        """
        if self.sessions is not None:
            raise InputError(f"{self.source}: prompts of conversations repeat outputs, whose lengths are those given")
        asked, predicted = self.asked, self.predicted_output_tokens
        return replace(
            self,
            output_tokens=_scaled(self.output_tokens, factor),
            predicted_output_tokens=None if predicted is None else _scaled(predicted, factor),
            asked=None if asked is None else replace(asked, max_tokens=_scaled(asked.max_tokens, factor)),
        )

    def repeated(self, requests: int, times: int) -> Workload:
        """Return the first `requests`, each `times` times in a row, as if all of them came by themselves."""
        if times == 1 and requests == len(self) and self.sessions is None:
            return self
        index = np.repeat(np.arange(requests), times)
        prefixes = None if self.prefixes is None else self.prefixes.take(index)
        columns = (self.arrival_s[index], self.prompt_tokens[index], self.output_tokens[index])
        predicted = None if self.predicted_output_tokens is None else self.predicted_output_tokens[index]
        classes = None if self.classes is None else replace(self.classes, of_request=self.classes.of_request[index])
        user = None if self.user is None else self.user[index]
        asked = None if self.asked is None else self.asked.take(index)
        acceptance = None if self.acceptance is None else self.acceptance.take(index)
        return Workload(
            *columns,
            self.source,
            prefixes,
            predicted,
            classes,
            asked=asked,
            slo=self.slo,
            user=user,
            acceptance=acceptance,
            quality=None if self.quality is None else self.quality.take(index),
        )


def _scaled(tokens: NDArray[np.int64], factor: float) -> NDArray[np.int64]:
    scaled: NDArray[np.int64] = np.maximum(1, np.rint(factor * tokens)).astype(np.int64)
    return scaled
