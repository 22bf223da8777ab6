"""One experiment, described: frozen, validated data. It names policies and files, and runs no code."""

from __future__ import annotations

from llmsim.scenario.load import find_scenario, load_scenario, scenario_names
from llmsim.scenario.model import (
    Abandonment,
    Cluster,
    ConstantArrivals,
    FixedLengths,
    GammaArrivals,
    ImmediateDelivery,
    LognormalLengths,
    OnOffArrivals,
    PacedDelivery,
    PoissonArrivals,
    Scenario,
    SchedulerChoice,
    SharedPrefixes,
    Slo,
    SyntheticWorkload,
    TraceWorkload,
    TrafficLengths,
    User,
    Window,
)

__all__ = [
    "Abandonment",
    "Cluster",
    "ConstantArrivals",
    "FixedLengths",
    "GammaArrivals",
    "ImmediateDelivery",
    "LognormalLengths",
    "OnOffArrivals",
    "PacedDelivery",
    "PoissonArrivals",
    "Scenario",
    "SchedulerChoice",
    "SharedPrefixes",
    "Slo",
    "SyntheticWorkload",
    "TraceWorkload",
    "TrafficLengths",
    "User",
    "Window",
    "find_scenario",
    "load_scenario",
    "scenario_names",
]
