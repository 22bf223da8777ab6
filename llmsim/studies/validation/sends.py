"""How the requests of a measured run are sent again: at their times, or as a closed loop, as its benchmark did it.

A benchmark with a cap on requests under way (`max_concurrency`) and no rate is a closed loop: the next request goes out
when an answer is there. Sent again at fixed times, an engine slower than the measured one must fall behind for ever.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmsim.errors import InputError
from llmsim.interop.measured import Load, MeasuredResult
from llmsim.record import Floats

#: of a run's sendings, the share with equally many under way from which it looks like a closed loop
MOST_ALIKE = 0.9
TOGETHER = 0.01  #: of the median E2E
ROUNDING_S = 1e-6  #: of an end that is the sum of a sending and an E2E
FALLS_BEHIND = "an engine slower than the measured one must fall behind"


@dataclass(frozen=True, slots=True, eq=False)
class Sends:
    """When clients have each request ready, and how many of them are under way at most."""

    arrival_s: Floats  #: (requests,)
    max_in_flight: int | None = None
    said: str = "sent again at the same times"
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Assumed:
    """What the command line adds to a file: a cap, and whether send times may be drawn."""

    max_concurrency: int | None = None
    sends: bool = False


NOTHING_ASSUMED = Assumed()


def sends_of(path: Path, measured: MeasuredResult, assumed: Assumed) -> Sends:
    """How to send the requests of a run again; InputError where its file lacks what that takes, and what would do."""
    load = measured.load
    cap = assumed.max_concurrency or load.max_concurrency
    sent_s = measured.requests(path, "a comparison").arrival_s
    cap = None if cap is None else min(cap, len(sent_s))  # more than all of them cannot be under way
    if cap is not None and load.rate_per_s in (None, math.inf):
        return Sends(np.zeros(len(sent_s)), cap, f"sent again as a closed loop of {cap}")
    if not measured.dated:
        return _undated(path, measured, len(sent_s), cap, assumed)
    if cap is not None:
        ready_s = sent_s if measured.queued_s is None else sent_s - measured.queued_s
        known = "" if measured.queued_s is not None else ", as if none had waited at the client"
        return Sends(ready_s - ready_s.min(), cap, f"sent again at the same times{known}, at most {cap} under way")
    return Sends(sent_s, warning=_held_back(load, sent_s))


def _held_back(load: Load, sent_s: Floats) -> str:
    if load.rate_per_s == math.inf and np.ptp(sent_s) > 1.0:
        return (
            f"request_rate is inf, yet requests were sent over {np.ptp(sent_s):.3g} s: if their clients waited for "
            f"answers, {FALLS_BEHIND}; --max-concurrency N makes it a closed loop"
        )
    return ""


def looks_closed(sent_s: Floats, e2e_s: Floats) -> str:
    """Say so where as many requests were under way at nearly every sending: a closed loop that does not say so.

    Answers that come together are followed by sendings together: within a hundredth of a request's time they are one.
    """
    ends_s, together_s = np.sort(sent_s + e2e_s), TOGETHER * float(np.median(e2e_s))
    gone = np.searchsorted(ends_s, sent_s + ROUNDING_S, side="right")
    most = int((np.searchsorted(sent_s, sent_s, side="right") - gone).max())
    later = (np.searchsorted(sent_s, sent_s + together_s, side="right") - gone)[most:]
    if most < 2 or len(later) <= most or np.mean(later >= most) < MOST_ALIKE:
        return ""
    return (
        f"{most} requests were under way at nearly every sending, as in a closed loop, and the file does not say so: "
        f"{FALLS_BEHIND}; --max-concurrency {most} sends them as a closed loop"
    )


def _undated(path: Path, measured: MeasuredResult, n: int, cap: int | None, assumed: Assumed) -> Sends:
    load = measured.load
    if load.rate_per_s == math.inf:
        return Sends(np.zeros(n), None, "all sent at once, as the file says (request_rate inf)")
    if load.rate_per_s is None:
        raise InputError(
            f"{path}: {measured.source} saves no send times, and the file says neither a rate nor a cap; "
            "--max-concurrency N sends them as a closed loop, or give a CSV or timelines"
        )
    if not assumed.sends:
        raise InputError(
            f"{path}: {measured.source} saves no send times; --assume-sends draws them as it does "
            f"({_process(load)}), or give a CSV or timelines"
        )
    said = f"send times are not in the file and were drawn ({_process(load)})"
    return Sends(drawn_sends_s(load, n), cap, said)


def _process(load: Load) -> str:
    shape = load.burstiness
    if shape is None or shape == 1.0:
        kind = "Poisson"
    else:
        kind = "constant gaps" if shape == math.inf else f"gamma gaps, burstiness {shape:g}"
    return f"{kind}, {load.rate_per_s:g} requests/s"


def drawn_sends_s(load: Load, n: int, seed: int = 0) -> Floats:
    """Send times (n,) as benchmarks draw them: gamma gaps; in vLLM stretched so that the last comes at n / rate."""
    assert load.rate_per_s is not None
    shape = 1.0 if load.burstiness is None else load.burstiness
    if shape == math.inf:
        return np.arange(1, n + 1) / load.rate_per_s
    gaps_s = np.random.default_rng(seed).gamma(shape, 1.0 / (load.rate_per_s * shape), n)
    sends_s = np.cumsum(gaps_s)
    return sends_s * (n / load.rate_per_s / sends_s[-1]) if load.rescaled else sends_s
