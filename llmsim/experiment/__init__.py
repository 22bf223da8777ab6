"""From a scenario to a result: assemble what it names, run it, score it, and keep it."""

from __future__ import annotations

from llmsim.experiment.assembly import Assembly, assemble, check
from llmsim.experiment.by_class import classes_of, prediction_of
from llmsim.experiment.parts import make_api, make_host, make_slo, make_user, make_window
from llmsim.experiment.requests import make_workload
from llmsim.experiment.result_folder import (
    SCENARIO_FILE,
    check_folder,
    in_the_way,
    read_record,
    read_scenario,
    read_score,
    staged,
    write,
)
from llmsim.experiment.routing import router_choice
from llmsim.experiment.run_scenario import Result, as_asked, delivered, run, verdict_of
from llmsim.experiment.verdict import ANSWERS, P99S_MARKED, P99S_WITHHELD, reported

__all__ = [
    "ANSWERS",
    "P99S_MARKED",
    "P99S_WITHHELD",
    "SCENARIO_FILE",
    "Assembly",
    "Result",
    "as_asked",
    "assemble",
    "check",
    "check_folder",
    "classes_of",
    "delivered",
    "in_the_way",
    "make_api",
    "make_host",
    "make_slo",
    "make_user",
    "make_window",
    "make_workload",
    "prediction_of",
    "read_record",
    "read_scenario",
    "read_score",
    "reported",
    "router_choice",
    "run",
    "staged",
    "verdict_of",
    "write",
]
