"""What a scenario runs, in a few lines: model, GPUs, router, scheduler, and what is not the default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmsim.experiment import router_choice
from llmsim.reports.format import number_text, value_text
from llmsim.scenario import ClusterTable, PoolTable, Scenario

#: tables of a scenario of which the setting names what is not the default: they decide what becomes of requests
UNUSUAL_TABLES = ("clients", "host", "gateway", "patience", "retries", "abandonment", "delivery")


def setting(scenario: Scenario) -> str:
    """Say what serves, and what is unusual on the way to users."""
    scheduler = _with_options(scenario.scheduler.name, scenario.scheduler.options)
    behind = f"{_router(scenario)}, {scheduler}, seed {scenario.seed}"
    unusual = [f"{name}.{key} {value}" for name in UNUSUAL_TABLES for key, value in _unusual(scenario, name)]
    beside = [", ".join(unusual)] if unusual else []
    if not scenario.pool:
        return "\n".join((f"{_scaled(scenario)}{_gpus(scenario.cluster)}, {scenario.cluster.model}, {behind}", *beside))
    models = list(dict.fromkeys(cluster.model for _, cluster in scenario.pools))
    pools = (
        f"{pool.name}: {_gpus(cluster)}{f', {cluster.model}' if len(models) > 1 else ''}{_own_scheduler(pool)}"
        for pool, cluster in scenario.pools
    )
    return "\n".join((f"{' and '.join(models)}, {behind}", *pools, *beside))


def _unusual(scenario: Scenario, name: str) -> Iterator[tuple[str, str]]:
    """Give the keys of a table, and of tables within it, whose values are not the default, and these."""
    table = getattr(scenario, name)
    values = table.model_dump(exclude_defaults=True)
    if type(table) is not type(Scenario.model_fields[name].default):  # of several kinds: another than usual
        values = {"policy": table.policy} | values
    for key, value in values.items():
        within = value.items() if isinstance(value, Mapping) else ()
        for place, of in [(f"{key}.{inner}", of) for inner, of in within] or [(key, value)]:
            yield place, number_text(of) if isinstance(of, float) else value_text(of)


def _router(scenario: Scenario) -> str:
    """The router, and how old its news are, where there is more than one instance to tell apart."""
    choice = router_choice(scenario)
    name = _with_options(choice.name, choice.options)
    if scenario.most_instances == 1 or choice.reports is None:
        return name
    caches = ", caches: oracle" if choice.caches else ""
    if choice.reports == "oracle":
        return f"{name} (reports: oracle{caches})"
    own = "and" if choice.count_own_sends else "without"
    return f"{name} (reports every {choice.report_age_s:g} s {own} its own sends since{caches})"


def _scaled(scenario: Scenario) -> str:
    """Between which numbers instances come and go, and why; before the number that there is at the start."""
    chosen = scenario.autoscaling
    if chosen is None:
        return ""
    bounds = f"{chosen.min_instances} to {chosen.max_instances} instances"
    return f"{bounds} by {chosen.metric} (target {chosen.target:g}, cold start {chosen.cold_start_s:g} s), at first "


def _gpus(cluster: ClusterTable) -> str:
    parallel = f" ({cluster.parallelism})" if cluster.parallelism else ""
    return f"{cluster.instances} x {cluster.gpu}{parallel}"


def _own_scheduler(pool: PoolTable) -> str:
    own = pool.scheduler
    said = _with_options(own.name, own.options) if own.name else _options(own.options)
    return f", {said}" if said else ""


def _with_options(name: str, options: Mapping[str, Any]) -> str:
    return f"{name} ({_options(options)})" if options else name


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in options.items())
