"""The score of a run: every default metric, as plain numbers ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from llmsim.metrics import goodput, ranges, request_latency, smooth_goodput
from llmsim.metrics import slo as slos
from llmsim.metrics.ranges import Bools
from llmsim.metrics.slo import Slo
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.summary import number, summary
from llmsim.metrics.window import ARRIVALS, Span, Window, per_second, resolve, run_end_s
from llmsim.record import Floats, Timelines
from llmsim.request import Outcome


def score(
    timelines: Timelines,
    *,
    slo: Slo | None = None,
    user: User | None = None,
    window: Window = ARRIVALS,
    first_scheduled_s: Floats | None = None,
    end_s: float | None = None,
) -> dict[str, Any]:
    """Score the requests of `window`; plain floats, ints, strings and None only.

    Latencies, attainment, goodput and smooth goodput rest on the requests that arrive in the window,
    whenever they end; `output_tokens_per_s` and `requests_per_s` on what is delivered inside it.
    `first_scheduled_s` (N,) is NaN where a request was never scheduled. `end_s` is when the run ended, for
    users charged `until_run_end`. Every choice is under `choices`.
    """
    span = resolve(window, timelines)
    end_s = run_end_s(timelines) if end_s is None else end_s
    values = _score_within(timelines, span, slo, user, first_scheduled_s, end_s)
    return {**values, "choices": _choices(slo, user, window, span, end_s)}


def score_classes(
    timelines: Timelines,
    classes: Mapping[str, tuple[Bools, Slo | None]],
    *,
    user: User | None = None,
    window: Window = ARRIVALS,
    first_scheduled_s: Floats | None = None,
    end_s: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Score each class of requests by itself: which they are, (N,), and their SLO, by name.

    All classes have the window of the whole, so that their rates add up to its rates. Otherwise as `score`, with the
    bounds of a class under `slo.bounds`.
    """
    whole = resolve(window, timelines)
    end_s = run_end_s(timelines) if end_s is None else end_s
    scores = {}
    for name, (mine, slo) in classes.items():
        span = replace(whole, counted=whole.counted[mine])
        scheduled_s = None if first_scheduled_s is None else first_scheduled_s[mine]
        values = _score_within(ranges.select(timelines, mine), span, slo, user, scheduled_s, end_s)
        if slo is not None:
            values["slo"]["bounds"] = asdict(slo)
        scores[name] = values
    return scores


def _score_within(
    timelines: Timelines, span: Span, slo: Slo | None, user: User | None, first_scheduled_s: Floats | None, end_s: float
) -> dict[str, Any]:
    counted = ranges.select(timelines, span.counted)
    rows = ranges.layout(counted)
    return {
        "requests": outcomes(counted),
        **_latencies(counted, None if first_scheduled_s is None else first_scheduled_s[span.counted]),
        "output_tokens": int(rows.n_tokens.sum()),
        "output_tokens_per_s": number(goodput.delivered_tokens_per_s(timelines, span)),
        "requests_per_s": number(goodput.finished_requests_per_s(timelines, span)),
        "slo": None if slo is None else _slo(counted, slo, span),
        **score_reader(counted, user, span, end_s),
    }


def outcomes(timelines: Timelines) -> dict[str, int]:
    """How many requests there are, and how they ended; the outcomes add up to the total."""
    counts = np.bincount(timelines.outcome, minlength=len(Outcome))
    named = {outcome.name.lower(): int(counts[outcome]) for outcome in Outcome}
    order = ("finished", "abandoned", "cancelled", "rejected", "unfinished")
    return {"total": len(timelines), **{name: named[name] for name in order}}


def _latencies(timelines: Timelines, first_scheduled_s: Floats | None) -> dict[str, Any]:
    queueing = None
    if first_scheduled_s is not None:
        queueing = request_latency.summarise_waits(timelines, request_latency.queueing_s(timelines, first_scheduled_s))
    return {
        "ttft_s": request_latency.summarise_waits(timelines, request_latency.ttft_s(timelines)),
        "tpot_s": request_latency.summarise_tpot(timelines),
        "tbt_s": request_latency.summarise_tbt(timelines),
        "e2e_s": request_latency.summarise_waits(timelines, request_latency.e2e_s(timelines)),
        "queueing_s": queueing,
    }


def _slo(timelines: Timelines, slo: Slo, span: Span) -> dict[str, Any]:
    each = slos.meets_each(timelines, slo)
    good = slos.joint(each)
    share = {name: number(kept.mean()) if len(kept) else None for name, kept in each.items()}
    return {
        "attainment": number(good.mean()) if len(good) else None,
        "attainment_by_bound": share,
        "goodput_tokens_per_s": number(per_second(float(ranges.n_tokens(timelines)[good].sum()), span)),
        "goodput_requests_per_s": number(per_second(float(good.sum()), span)),
    }


def score_reader(timelines: Timelines, user: User | None, span: Span, end_s: float) -> dict[str, Any]:
    """The part of a score that rests on the reader: of `timelines`, those counted, charged until `end_s` if dropped."""
    if user is None:
        return {"smooth_goodput_tokens_per_s": None, "idle_latency_s": None}
    idle_s = smooth_goodput.idle_latency_s(timelines, user, end_s=end_s)
    n_tokens, finished = ranges.n_tokens(timelines), timelines.outcome == Outcome.FINISHED
    penalty = smooth_goodput.penalty_tokens(idle_s, n_tokens, finished, user)
    total = float((n_tokens - penalty).sum())
    return {
        "smooth_goodput_tokens_per_s": number(per_second(total, span)),
        "idle_latency_s": summary(np.maximum(idle_s, 0.0)),
    }


def _choices(slo: Slo | None, user: User | None, window: Window, span: Span, end_s: float) -> dict[str, Any]:
    seconds_per_token = None if user is None else user.seconds_per_token
    return {
        "window": {
            "asked": window.kind,
            "kind": span.kind,
            "start_s": span.start_s,
            "end_s": number(span.end_s),
            "duration_s": number(span.duration_s),
            "requests_outside": int((~span.counted).sum()),
        },
        "slo": None if slo is None else asdict(slo),
        "user": None if user is None else asdict(user) | {"seconds_per_token": seconds_per_token},
        "run_end_s": end_s,
        "percentiles": "NumPy linear; Kaplan-Meier where censored > 0 (ttft_s, e2e_s, queueing_s)",
    }
