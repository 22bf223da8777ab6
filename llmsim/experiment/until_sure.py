"""Runs that are lengthened until they can say whether they are steady."""

from __future__ import annotations

from llmsim.errors import InputError
from llmsim.experiment.own_files import OwnClasses
from llmsim.experiment.run_scenario import run
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.scenario import Scenario, SyntheticWorkload
from llmsim.statistics import TOO_SHORT

#: a run is lengthened so often at the most: to 1,024 times its requests
DOUBLINGS = 10


def lengthened(scenario: Scenario, classes: OwnClasses) -> tuple[Scenario, list[int]]:
    """Double a scenario's requests until its run is not too short; the requests of all runs that this took, too.

    Raises InputError for what has one length: a trace, and a scenario that ends at a given time.
    """
    if not isinstance(scenario.workload, SyntheticWorkload):
        raise InputError(f"{scenario.where('workload')}--until-sure: a trace has one length; expected drawn requests")
    if scenario.until_s is not None:
        raise InputError(f"{scenario.where('until_s')}until_s ends every run there; leave it out for --until-sure")
    tried = [scenario.workload.requests]
    for _ in range(DOUBLINGS):
        if run(scenario, **classes).score.section(RunVerdict).answer != TOO_SHORT:
            break
        tried.append(2 * tried[-1])
        longer = scenario.workload.model_copy(update={"requests": tried[-1]})
        scenario = scenario.model_copy(update={"workload": longer})
    return scenario, tried
