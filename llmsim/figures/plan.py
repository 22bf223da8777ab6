"""What the figures run: settings, scheduler policies, rates and seeds, and tables of the numbers of their runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llmsim.record import Floats
from llmsim.scenario import Scenario

#: scenario under scenarios/paper/ -> the rate, requests/s, near which the instance saturates
SETTINGS = {
    "sharegpt_llama": 3.4,
    "sharegpt_qwen": 1.7,
    "documents_llama": 4.4,
    "documents_qwen": 2.2,
    "azure_llama": 9.0,
}
#: the same for prefill on one instance and decode on another; about half of what they can do, for bursts to fit in
DISAGGREGATED = {"disaggregated_qwen": 2.5, "disaggregated_llama": 6.0}
#: under scenarios/related/: the same for the settings of other papers; of those with SLOs, near which first come, first
#: served begins to miss them
RELATED = {
    "tight_decode": 2.2,
    "tight_prefill": 1.9,
    "loose": 5.7,
    "tight_tokens": 1.0,
    "tenants": 7.0,
    "speculation_llama": 8.0,
    "routing": 12.0,
    "reasoning": 2.0,
    "long_context": 0.42,
    "agents": 2.1,
    "adaserve": 1.0,
}
#: requests for each arrival, where one is that of an agent
CALLS = {"agents": 4}
#: offered load as a multiple of that rate; close together where curves peak
LOADS = (0.3, 0.6, 0.75, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5, 1.8, 2.4)
QUICK_LOADS = (0.3, 0.75, 0.9, 1.0, 1.1, 1.2, 1.35, 1.8)
#: name in figures -> overrides of a scenario
POLICIES: dict[str, tuple[str, ...]] = {
    "prefill first": ("scheduler.name=fcfs",),
    "chunked, 2048": ("scheduler.name=chunked_prefill", "scheduler.max_num_batched_tokens=2048"),
    "chunked, 512": ("scheduler.name=chunked_prefill", "scheduler.max_num_batched_tokens=512"),
}
AS_IT_IS = "as it is"  #: the scenario's own scheduler
#: the same, of other papers
RELATED_POLICIES: dict[str, tuple[str, ...]] = {
    "SLOs-Serve": ("scheduler={name='slos_serve'}",),
    "static batches": ("scheduler={name='static'}",),
    "SGLang": ("scheduler={name='sglang'}",),
    "shortest first": ("scheduler={name='shortest_predicted_first'}", "prediction={predictor='oracle'}"),
    "earliest deadline": ("scheduler={name='earliest_token_deadline'}",),
    "VTC": ("scheduler.name=vtc",),
    "VTC, predicted": ("scheduler.name=vtc_predicted", "prediction={predictor='oracle'}"),
    AS_IT_IS: (),
}
#: arrivals last this long; the scenarios' windows end before
HORIZON_S = 300.0


@dataclass(frozen=True, slots=True)
class Plan:
    """One line in a figure: a setting under a policy, over rates and seeds."""

    setting: str
    policy: str = "prefill first"
    loads: tuple[float, ...] = LOADS
    seeds: int = 10
    changes: tuple[str, ...] = ()  #: further overrides, ``key=value``
    horizon_s: float = HORIZON_S
    abandons: bool = False  #: gives up on requests, and charges for them until the end of the run that does not
    forms: bool = False  #: is judged by the rules of other papers, too

    def abandoning(self) -> Plan:
        """Return the same, giving up on requests that miss."""
        return replace(self, abandons=True)

    @property
    def delayed(self) -> bool:
        """Whether its runs are also judged with their tokens delayed: those that compare schedulers are not."""
        if (
            self.forms
            or self.abandons
            or self.setting in DISAGGREGATED
            or self.setting in RELATED
            or self.horizon_s != HORIZON_S
        ):
            return False
        return self.policy == "prefill first" or bool(self.changes)

    @property
    def rates_per_s(self) -> Floats:
        """Requests per second, (R,)."""
        return np.round((SETTINGS | DISAGGREGATED | RELATED)[self.setting] * np.array(self.loads), 3)

    @property
    def scenario(self) -> str:
        """Name of the scenario."""
        return f"{'related' if self.setting in RELATED else 'paper'}/{self.setting}"

    def overrides(self, rate_per_s: float, seed: int) -> list[str]:
        """Return the overrides of one run."""
        return [
            *(POLICIES | RELATED_POLICIES)[self.policy],
            *self.changes,
            f"seed={seed}",
            f"workload.arrivals.rate_per_s={rate_per_s}",
            f"workload.requests={round(rate_per_s * self.horizon_s) * CALLS.get(self.setting, 1)}",
        ]


@dataclass(frozen=True, eq=False)
class Sweep:
    """The numbers of a plan's runs."""

    plan: Plan
    values: Mapping[str, Floats]  #: name -> (R, S), rates by seeds

    @property
    def rates_per_s(self) -> Floats:
        """Requests per second, (R,)."""
        return self.plan.rates_per_s

    def smooth_goodput(
        self, tokens_per_s: float = 5.0, alpha: float = 2.5, *, window: str = "arrivals", paced: bool = False
    ) -> Floats:
        """Smooth goodput in tokens/s, (R, S): tokens - alpha x idle latency, linear f, anchored at the arrival."""
        prefix = "paced_" if paced else ""
        tokens = self.values[f"{prefix}tokens_{window}"]
        return np.asarray(tokens - alpha * self.values[f"{prefix}idle_{tokens_per_s:g}_{window}"])


def labels(plan: Plan) -> dict[str, str]:
    """What tells a plan from others, for tables."""
    return {"setting": plan.setting, "policy": plan.policy, "changes": " ".join(plan.changes)}


def means_by_rate(rows: Iterable[tuple[Mapping[str, object], Sweep, Mapping[str, Floats]]]) -> dict[str, list[Any]]:
    """Columns of a table with a row for each rate of each sweep: its labels, the rate, means over seeds of (R, S)."""
    out: dict[str, list[Any]] = {}
    for labels, sweep, values in rows:
        rates_per_s = sweep.rates_per_s.tolist()
        columns = {name: [label] * len(rates_per_s) for name, label in labels.items()} | {"rate_per_s": rates_per_s}
        columns |= {name: by_seed.mean(axis=1).tolist() for name, by_seed in values.items()}
        for name, column in columns.items():
            out.setdefault(name, []).extend(column)
    return out


def grid(quick: bool, *policies: str) -> tuple[Plan, ...]:
    """Every setting (quick: one of conversations, one of documents) under every one of these policies."""
    if quick:
        return tuple(Plan(s, p, QUICK_LOADS, seeds=5) for s in ("sharegpt_llama", "documents_llama") for p in policies)
    return tuple(Plan(setting, policy) for setting in SETTINGS for policy in policies)


def can_abandon() -> bool:
    """Whether scenarios can say that requests are abandoned."""
    return "abandonment" in Scenario.model_fields
