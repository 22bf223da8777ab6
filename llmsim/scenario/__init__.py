"""One experiment, described: frozen, validated data. It names policies and files, and runs no code.

A class that ends in `Table` is a table of the file; what a run makes of it lies in the room that does the work.
"""

from __future__ import annotations

from llmsim.scenario.autoscaling import AutoscalingTable
from llmsim.scenario.cluster import (
    ClusterTable,
    EngineHostTable,
    HostTable,
    KvTransferTable,
    LatencyChoice,
    PoolTable,
    RouterChoice,
    SchedulerChoice,
)
from llmsim.scenario.gateway import AbandonmentTable, ClientsTable, GatewayTable, ImmediateDelivery, PacedDelivery
from llmsim.scenario.load import find_scenario, load_scenario, scenario_names
from llmsim.scenario.measuring import SloTable, UserTable, WindowTable
from llmsim.scenario.scenario import Scenario, tenants_of
from llmsim.scenario.users import PatienceTable, RetriesTable, SessionsTable
from llmsim.scenario.workload import (
    ArrivalsTable,
    LengthsTable,
    RequestClass,
    ServeGenWorkload,
    SharedPrefixesTable,
    SyntheticWorkload,
    TraceWorkload,
)

__all__ = [
    "AbandonmentTable",
    "ArrivalsTable",
    "AutoscalingTable",
    "ClientsTable",
    "ClusterTable",
    "EngineHostTable",
    "GatewayTable",
    "HostTable",
    "ImmediateDelivery",
    "KvTransferTable",
    "LatencyChoice",
    "LengthsTable",
    "PacedDelivery",
    "PatienceTable",
    "PoolTable",
    "RequestClass",
    "RetriesTable",
    "RouterChoice",
    "Scenario",
    "SchedulerChoice",
    "ServeGenWorkload",
    "SessionsTable",
    "SharedPrefixesTable",
    "SloTable",
    "SyntheticWorkload",
    "TraceWorkload",
    "UserTable",
    "WindowTable",
    "find_scenario",
    "load_scenario",
    "scenario_names",
    "tenants_of",
]
