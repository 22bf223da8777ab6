"""Whether a run's steps lie beyond what its step times were measured on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmsim.cluster import InstanceSpec
from llmsim.latency.contract import Measured
from llmsim.record import Record


def extrapolated(record: Record, instances: Sequence[InstanceSpec]) -> list[str]:
    """Say how far the largest steps lie beyond the measurements, instance by instance, each said once."""
    said = [words for number, spec in enumerate(instances) if (words := _of_instance(record, number, spec))]
    return list(dict.fromkeys(said))


def _of_instance(record: Record, number: int, spec: InstanceSpec) -> str:
    known = spec.latency.measured
    if known is None:
        return ""
    reached = _reached(record, number)
    names = {
        "prompt_tokens": "prompts of {:,} tokens (measured to {:,})",
        "context_tokens": "contexts of {:,} tokens (to {:,})",
        "sequences": "{:,} sequences (to {:,})",
        "step_tokens": "steps of {:,} tokens (to {:,})",
    }
    beyond = [
        words.format(largest, most)
        for name, words in names.items()
        if (largest := getattr(reached, name)) > (most := getattr(known, name))
    ]
    return f"extrapolated for {', '.join(beyond)}" if beyond else ""


def _reached(record: Record, number: int) -> Measured:
    """The largest steps of an instance; contexts are means over a step's sequences, as step times read them."""
    rows = record.steps["instance"] == number
    steps = {name: record.steps[name][rows] for name in ("steps", "prefill_tokens", "decoding", "context_tokens")}
    decoding = steps["decoding"]
    last = steps["context_tokens"] / np.maximum(decoding, 1) + steps["steps"] - 1
    served = record.requests["prompt_tokens"][
        (record.requests["instance"] == number) & ~np.isnan(record.requests["first_scheduled_s"])
    ]
    return Measured(
        sequences=int(decoding.max(initial=0)),
        context_tokens=int(np.where(decoding > 0, last, 0).max(initial=0)),
        prompt_tokens=int(served.max(initial=0)),
        step_tokens=int((steps["prefill_tokens"] + decoding).max(initial=0)),
    )
