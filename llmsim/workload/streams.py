"""The random streams of one run: one seed, one independent generator for each purpose.

What is drawn for one purpose never moves another: two schedulers, or two routers, see the same requests.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from llmsim.workload.arguments import whole


@dataclass(frozen=True, slots=True)
class Streams:
    """Generators by purpose, in spawning order; new ones go to the end, so that the others keep theirs."""

    arrivals: np.random.Generator  #: when requests come
    lengths: np.random.Generator  #: how long they are
    routing: np.random.Generator  #: choices of routers
    users: np.random.Generator  #: patience
    predictions: np.random.Generator  #: errors of predicted output lengths
    prefixes: np.random.Generator  #: whose prefix a request begins with
    classes: np.random.Generator  #: which class each request is of
    sessions: np.random.Generator  #: turns, think times, tool gaps
    retries: np.random.Generator  #: backoffs
    speculation: np.random.Generator  #: where each request is in the rhythm of what it accepts
    quality: np.random.Generator  #: how good answers are, what is predicted of that, and errors of judges


def streams(seed: int) -> Streams:
    """Return fresh generators, children 0, 1, ... of the seed's NumPy SeedSequence; `seed` is at least 0."""
    children = np.random.SeedSequence(whole("seed", seed, least=0)).spawn(len(fields(Streams)))
    return Streams(*(np.random.default_rng(child) for child in children))
