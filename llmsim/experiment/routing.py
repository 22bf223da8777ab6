"""The routers of a scenario, and what they know."""

from __future__ import annotations

from collections.abc import Sequence

from llmsim import discovery
from llmsim.cluster import InstanceSpec
from llmsim.cluster.fleet import Reports
from llmsim.engine.exchange import Disaggregation, Link
from llmsim.errors import InputError, nearest
from llmsim.experiment.parts import blaming, make_model
from llmsim.metrics.sections.choices import ChosenRouter
from llmsim.router import Router
from llmsim.scenario import RouterChoice, Scenario
from llmsim.scenario.options import make_policy


def find_router(name: str) -> type[Router]:
    """Find a router by its name."""
    return discovery.find("llmsim.routers", name, Router)


def make_router(scenario: Scenario) -> Router:
    """Find the router by its name and set its options; InputError for a pool that it names and that is not there."""
    chosen = scenario.router
    with blaming(scenario, *(("cluster", "router") if chosen.name is None else ("router", "name"))):
        policy = find_router(scenario.router_name)
    router = make_policy(
        policy, chosen.options, lambda keys: scenario.place(*keys), ("router",), RouterChoice.model_fields
    )
    there = [pool.name for pool, _ in scenario.pools if pool.role != "decode"]
    for option, named in router.pools_named().items():
        for name in set(named) - set(there):
            raise InputError(f"{scenario.where('router', option)}no [[pool]] is named '{name}'{nearest(name, there)}")
    return router


def check_declining(scenario: Scenario, router: Router, instances: Sequence[InstanceSpec]) -> None:
    """Refuse a router that asks schedulers what they accept where none ever declines a request."""
    if router.needs_declining and not any(each.scheduler.declines for each in instances):
        keys = ("cluster", "router") if scenario.router.name is None else ("router", "name")
        raise InputError(
            f"{scenario.where(*keys)}{scenario.router_name} asks schedulers what they would accept, and "
            f"{scenario.scheduler.name} accepts all; expected a scheduler that declines, such as slos_serve"
        )


def make_reports(scenario: Scenario) -> Reports:
    """How the router learns of the instances."""
    return Reports(scenario.router.report_age_s, scenario.router.count_own_sends)


def make_disaggregation(scenario: Scenario) -> Disaggregation | None:
    """How prefill and decode instances work together; None where there are none."""
    chosen = scenario.kv_transfer
    if chosen is None:
        return None
    with blaming(scenario, "kv_transfer", "router"):
        router = find_router(chosen.router)
    model = make_model(scenario)
    layers = model.num_hidden_layers if chosen.overlap == "layers" else 1
    link = Link(chosen.bandwidth_gb_per_s * 1e9, chosen.latency_s, layers)
    return Disaggregation(link, model.kv_bytes_per_token, router(), chosen.when_full)


def router_choice(scenario: Scenario) -> ChosenRouter:
    """The router, and what it and that of decode instances look at."""
    chosen, reads = scenario.router, set(make_router(scenario).reads)
    if scenario.kv_transfer is not None:
        reads |= set(find_router(scenario.kv_transfer.router).reads)
    age_s = chosen.report_age_s if "reports" in reads else None
    return ChosenRouter(
        scenario.router_name,
        chosen.options,
        reports=None if age_s is None else "periodic" if age_s else "oracle",
        report_age_s=age_s,
        count_own_sends=chosen.count_own_sends if age_s else None,
        caches="oracle" if "caches" in reads and caches_prefixes(scenario) else None,
    )


def caches_prefixes(scenario: Scenario) -> bool:
    """Whether any instance keeps KV blocks for requests that begin alike."""
    return any(cluster.prefix_caching for _, cluster in scenario.pools)
