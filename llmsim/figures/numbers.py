"""The numbers that figures keep of one run, as delivered and as it would be with its tokens delayed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from llmsim import delivery, experiment
from llmsim.metrics.score import score
from llmsim.metrics.smooth_goodput import User, delivered_lateness_s, smooth_goodput_tokens_per_s
from llmsim.metrics.window import Window, run_end_s
from llmsim.record import Timelines, expand
from llmsim.scenario import Scenario

#: readers, tokens/s: of a chat, of version 1 of the paper, and a fast one
READERS = (5.0, 20.0, 30.0)
WINDOWS = {"makespan": Window("makespan")}


def measure(scenario: Scenario) -> dict[str, float]:
    """Run a scenario; return its numbers, and after ``paced_`` those under output delay to the scenario's TBT bound."""
    result = experiment.run(scenario)
    slo, window = experiment.make_slo(scenario), experiment.make_window(scenario)
    emitted = result.record.timelines()
    held = delivery.output_delay(emitted, slo.tbt_s or math.inf)
    end_s = max(result.record.end_s, run_end_s(held))
    out = _numbers(result.score, emitted, window, end_s)
    paced_score = score(held, slo=slo, window=window, end_s=end_s)
    out |= {f"paced_{name}": value for name, value in _numbers(paced_score, held, window, end_s).items()}
    out["paced_earlier_tokens"] = float(_earlier_tokens(emitted, held))
    return out


def _numbers(values: Mapping[str, Any], timelines: Timelines, window: Window, end_s: float) -> dict[str, float]:
    out = {"throughput": _number(values["output_tokens_per_s"])}
    for name in ("ttft_s", "tpot_s", "tbt_s", "queueing_s"):
        if values[name] is not None:
            out |= {f"{name}_{key}": _number(values[name][key]) for key in ("mean", "p50", "p99")}
    slo = values["slo"]
    out |= {"attainment": _number(slo["attainment"]), "goodput": _number(slo["goodput_tokens_per_s"])}
    out |= {f"attainment_{bound}": _number(share) for bound, share in slo["attainment_by_bound"].items()}
    for name, span in {"arrivals": window, **WINDOWS}.items():
        out[f"tokens_{name}"] = smooth_goodput_tokens_per_s(timelines, User(alpha=0.0), span, end_s=end_s)
        for speed in READERS:
            one = smooth_goodput_tokens_per_s(timelines, User(tokens_per_s=speed, alpha=1.0), span, end_s=end_s)
            out[f"idle_{speed:g}_{name}"] = out[f"tokens_{name}"] - one
    for speed in READERS:
        late_s = delivered_lateness_s(timelines, User(tokens_per_s=speed, anchor="first_token", index_base=0))
        out[f"stalled_{speed:g}"] = float(np.mean(late_s > 1e-9))
    return out


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _earlier_tokens(emitted: Timelines, held: Timelines) -> int:
    """How many tokens are delivered before they were emitted; all requests have finished."""
    emitted_s, _ = expand(emitted.times_s, emitted.head_s, emitted.start, emitted.count)
    held_s, _ = expand(held.times_s, held.head_s, held.start, held.count)
    return int(np.sum(held_s < emitted_s[: len(held_s)]))
