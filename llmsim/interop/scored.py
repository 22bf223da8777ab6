"""The score of a measured run: what its file does not tell is left out, what its tool printed is held against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsim.interop.measured import Measured
from llmsim.metrics import ranges, request_latency
from llmsim.metrics.window import Window, resolve

SAME = 5e-4  #: relative; numbers that differ by less do not differ in three digits


def with_what_is_known(score: Mapping[str, Any], measured: Measured, window: Window) -> dict[str, Any]:
    """A score of the run's timelines without what is unknown, TBT between chunks, `notes`, and what was `printed`."""
    values = dict(score)
    if measured.chunks is not None and measured.timelines is not None:
        counted = resolve(window, measured.timelines).counted
        values["tbt_s"] = request_latency.summarise_tbt(ranges.select(measured.chunks, counted))
    values |= dict.fromkeys(measured.unknown)
    values["notes"] = list(measured.notes)
    if window == measured.window:
        values["printed"] = _held_against(measured, values)
    return values


def _held_against(measured: Measured, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each number that the tool printed: `tool`, `here`, and where these are not the same, `why`."""
    held: dict[str, dict[str, Any]] = {}
    for key, theirs in measured.printed.items():
        ours = _of_score(values, key)
        held[key] = {"tool": theirs, "here": ours}
        if ours is not None and abs(ours - theirs) > SAME * max(abs(ours), abs(theirs)):
            held[key]["why"] = measured.differs.get(key.partition(".")[0], "not explained by what the file says")
    return held


def _of_score(values: Mapping[str, Any], key: str) -> float | None:
    """A number of the score by the name that printed ones have; None where it has none, or does not know it."""
    name, _, part = key.partition(".")
    if name == "duration_s":
        value = values["choices"]["window"]["duration_s"]
    elif name == "goodput_requests_per_s":
        value = None  # rests on bounds that the file does not keep
    else:
        value = values.get(name)
    value = value.get(part) if isinstance(value, Mapping) else value
    return value if isinstance(value, int | float) else None


def summary_only(name: str, measured: Measured) -> dict[str, Any]:
    """What can be said of a run without requests one by one: what its tool printed, under the names of a score."""
    return {
        "name": name,
        "printed": {key: {"tool": value, "here": None} for key, value in measured.printed.items()},
        "notes": list(measured.notes),
        "choices": {"times": f"summary ({measured.source})"},
    }
