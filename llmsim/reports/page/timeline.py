"""What happened when, as data that a script draws: batch, queue, KV blocks, tokens, and a few requests' tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.record import Record, Timelines
from llmsim.reports.page.html import Html, element, escaped, in_script
from llmsim.reports.plots.load_plot import in_system, rates_per_s, sampled
from llmsim.reports.plots.timelines_plot import spread
from llmsim.scenario import Scenario

SCRIPT = (Path(__file__).parent / "timeline.js").read_text(encoding="utf-8")
#: points of each line, and of each request's tokens: more than a screen has
POINTS, REQUEST_POINTS = 800, 200


def timeline_data(scenario: Scenario, record: Record, delivered: Timelines) -> dict[str, Any]:
    """Return what the script draws, as JSON: lines over the same times, and requests; rounded as a screen shows it."""
    end_s = float(record.steps["end_s"].max(initial=0.0)) or record.end_s or 1.0
    time_s = np.linspace(0.0, end_s, POINTS)
    running = sampled(record.steps, "running", time_s)
    waiting = np.maximum(in_system(record.requests, time_s) - running.sum(axis=0), 0)
    used = sampled(record.steps, "kv_blocks_used", time_s).max(axis=0)
    edges_s = np.linspace(0.0, end_s, POINTS // 8 + 1)
    steps = record.steps
    rate = rates_per_s(steps["start_s"], steps["end_s"], steps["decoding"] * steps["steps"], edges_s)
    tokens = rate[np.clip(np.searchsorted(edges_s, time_s, side="right") - 1, 0, len(rate) - 1)]
    user = scenario.user
    return {
        "end_s": round(end_s, 6),
        "lines": [
            {"name": "running", "unit": "requests", "values": running.sum(axis=0).astype(int).tolist()},
            {"name": "waiting", "unit": "requests", "values": waiting.astype(int).tolist()},
            {"name": "KV blocks of the fullest instance", "unit": "blocks", "values": used.astype(int).tolist()},
            {"name": "output", "unit": "tokens/s", "values": _rounded(tokens)},
        ],
        "reader": {"tokens_per_s": user.tokens_per_s, "offset_s": user.offset_s, "anchor": user.anchor},
        "requests": [
            {"name": words, **_tokens(delivered, request)}
            for words, request in spread(delivered, record.requests["preemptions"]).items()
        ],
    }


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.3g}") for value in values]


def _tokens(delivered: Timelines, request: int) -> dict[str, Any]:
    """A request's tokens: how many by when, at so many points at most."""
    times_s = delivered.token_times_s(request)
    count = np.arange(1, len(times_s) + 1)
    keep = np.unique(np.linspace(0, len(times_s) - 1, min(len(times_s), REQUEST_POINTS)).astype(int))
    return {
        "request": int(request),
        "arrival_s": round(float(delivered.arrival_s[request]), 6),
        "times_s": [round(float(t), 6) for t in times_s[keep]],
        "tokens": count[keep].tolist(),
    }


def timeline(data: Mapping[str, Any]) -> Html:
    """Return the panels, to be filled by the script, and the data that it finds in the page."""
    return escaped(panels(), element("script", in_script(data), id="data", type="application/json"))


def panels() -> Html:
    """Return what the script draws in: two canvases, and between them a slider for the time."""
    return element(
        "div",
        element("canvas", id="lines", role="img", aria_label="Requests, KV blocks and tokens over time"),
        element("label", "time ", element("input", id="at", type="range", min="0", max=str(POINTS - 1), value="0")),
        element("output", "", id="now"),
        element("canvas", "", id="requests", role="img", aria_label="Tokens of a few requests beside their readers"),
        class_="timeline",
    )
