"""One experiment, described: frozen, validated data. It names policies and files, and runs no code."""

from __future__ import annotations

from llmsim.scenario.autoscaling import Autoscaling
from llmsim.scenario.load import find_scenario, load_scenario, scenario_names
from llmsim.scenario.model import (
    Abandonment,
    Clients,
    ClosedArrivals,
    Cluster,
    ConstantArrivals,
    DiurnalArrivals,
    FixedLengths,
    GammaArrivals,
    Gateway,
    Host,
    ImmediateDelivery,
    LognormalLengths,
    OnOffArrivals,
    PacedDelivery,
    PiecewiseArrivals,
    PoissonArrivals,
    Scenario,
    SchedulerChoice,
    SharedPrefixes,
    SyntheticWorkload,
    TraceWorkload,
    TrafficLengths,
    User,
    Window,
)
from llmsim.scenario.pools import EngineHost, Pool, RouterChoice
from llmsim.scenario.requests import RequestClass, ServeGenWorkload, Slo
from llmsim.scenario.users import Retries, Sessions

__all__ = [
    "Abandonment",
    "Autoscaling",
    "Clients",
    "ClosedArrivals",
    "Cluster",
    "ConstantArrivals",
    "DiurnalArrivals",
    "EngineHost",
    "FixedLengths",
    "GammaArrivals",
    "Gateway",
    "Host",
    "ImmediateDelivery",
    "LognormalLengths",
    "OnOffArrivals",
    "PacedDelivery",
    "PiecewiseArrivals",
    "PoissonArrivals",
    "Pool",
    "RequestClass",
    "Retries",
    "RouterChoice",
    "Scenario",
    "SchedulerChoice",
    "ServeGenWorkload",
    "Sessions",
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
