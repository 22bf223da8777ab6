"""All KPIs of a score, gathered from its sections: what tables, pictures, comparisons, plans and pages select from.

Nothing is written down here twice: a KPI is declared on the field of the section that holds it. A new file in
`llmsim/metrics/sections`, or an entry point of the group ``llmsim.metrics.sections``, is in the catalogue at once.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from llmsim import discovery
from llmsim.errors import InputError, nearest
from llmsim.metrics.kpi import ByName, Kpi, Part, Section
from llmsim.metrics.summary import STATISTICS, TAIL_STATISTICS, Summary
from llmsim.slo import bound_name

if TYPE_CHECKING:
    from llmsim.scenario import Scenario

PACKAGE = "llmsim.metrics.sections"
#: files of sections in the order in which a score has them; others come after these, by name
ORDER = (
    *(
        "outcomes",
        "latencies",
        "throughput",
        "attainment",
        "reader",
        "choices",
        "class_scores",
        "together",
        "fairness",
        "prediction",
        "reasons",
    ),
    *("attempt_counts", "conversation_counts", "client_queueing", "engine_ttft", "gateway_queueing", "wasted"),
    *(
        "paid_instances",
        "stages",
        "prefix_hits",
        "imbalance",
        "utilisation",
        "verdict",
        "pools",
        "memory",
        "duration",
        "benchmark_file",
    ),
)


@cache
def sections() -> tuple[type[Section], ...]:
    """Every section, in the order in which a score has them. Imports all of them, once."""
    names = sorted(
        discovery.names(PACKAGE), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)
    )
    return tuple(discovery.find(PACKAGE, name, Section) for name in names)


@cache
def kpis() -> Mapping[str, Kpi]:
    """Every KPI by its key, in the order of the score; ``*`` in a key stands for the name of a pool or the like."""
    return {one.key: one for section in sections() for one in of_section(section)}


@cache
def of_section(section: type[Section]) -> tuple[Kpi, ...]:
    """The KPIs of a section, each number of a summary by itself."""
    return tuple(_of_section(section))


def _of_section(section: type[Section]) -> Iterator[Kpi]:
    prefix = f"{section.key}." if section.key else ""
    if issubclass(section, ByName):
        if section.part is not None:
            yield from _of_fields(section.part, f"{prefix}*.")
    else:
        yield from _of_fields(section, prefix)


def kpi_of(key: str) -> Kpi:
    """Return the KPI of a key of a score, such as ``"ttft_s.p99"``; InputError, with the nearest right one, if none."""
    found = find_kpi(key)
    if found is None:
        raise InputError(f"unknown metric {key}{nearest(key, kpis())}")
    return found


def find_kpi(key: str) -> Kpi | None:
    """Return the KPI of a key of a score; None if there is none."""
    known = kpis()
    parts = key.split(".")
    if parts[0] == "classes" and len(parts) > 2:  # classes have KPIs of the whole
        return find_kpi(".".join(parts[2:]))
    for candidate in (key, *(".".join([*parts[:i], "*", *parts[i + 1 :]]) for i in range(len(parts)))):
        if candidate in known:
            return known[candidate]
    return None


def select(*keys: str) -> tuple[Kpi, ...]:
    """Return the KPIs of some keys, in their order; InputError for one that is unknown."""
    return tuple(map(kpi_of, keys))


@cache
def summaries() -> tuple[Kpi, ...]:
    """Every KPI that is a `Summary`, as a whole, by the key of the whole: ``"ttft_s"``."""
    return tuple(
        dataclasses.replace(declared, key=f"{section.key}.{field}" if section.key else field)
        for section in sections()
        for field, (hint, declared) in _declared(section).items()
        if _is_summary(hint)
    )


def compared(scenario: Scenario | None = None, *, requested: bool = False) -> tuple[str, ...]:
    """Keys of the KPIs that `llmsim compare` has, of a scenario's runs if one is given.

    `requested`: with those that are measured only where they are asked for.
    """
    return tuple(
        one.key
        for section in sections()
        if (requested and section.on_request) or (section.compared and (scenario is None or section.applies(scenario)))
        for one in of_section(section)
        if one.kind != "basis" and (scenario is None or one.key not in _lacking(section, scenario))
    )


def _lacking(section: type[Section], scenario: Scenario) -> set[str]:
    return {f"{section.key}.{name}" if section.key else name for name in section.lacks(scenario)}


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a score's JSON by dotted key, such as ``("ttft_s.p99", 0.31)``; lists are no leaves."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        elif not isinstance(value, list | tuple):
            yield f"{prefix}{name}", value


def _of_fields(part: type[Part], prefix: str) -> Iterator[Kpi]:
    for field, (hint, declared) in _declared(part).items():
        key = f"{prefix}{field}"
        if _is_summary(hint):
            yield from _of_summary(declared, key)
        elif typing.get_origin(hint) is Mapping:
            for name in declared.each or ("*",):
                of_bound = _of_bound(declared.name, name)
                yield dataclasses.replace(declared, key=f"{key}.{name}", name=of_bound, whole=_is_whole(hint))
        else:
            yield dataclasses.replace(declared, key=key, whole=_is_whole(hint))


def _of_summary(declared: Kpi, key: str) -> Iterator[Kpi]:
    for statistic in STATISTICS:
        name = f"mean {declared.name}" if statistic == "mean" else f"{declared.name} {statistic}"
        tail = declared.tail and statistic in TAIL_STATISTICS
        yield dataclasses.replace(declared, key=f"{key}.{statistic}", name=name, short="", tail=tail)
    for count, words in (("n", "values"), ("censored", "cut short")):
        name = f"{declared.name}, {words}"
        yield Kpi(name, kind="basis", key=f"{key}.{count}", whole=True)


def _of_bound(name: str, bound: str) -> str:
    return name if bound == "*" else f"{name} {bound_name(bound)}"


def _is_whole(hint: Any) -> bool:
    """Whether a field, or each value of a mapping, is a whole number."""
    kinds = {hint, *typing.get_args(hint)} - {str, type(None), Mapping}
    return int in kinds and float not in kinds


def _is_summary(hint: Any) -> bool:
    return Summary in (hint, *typing.get_args(hint))


@cache
def _declared(part: type[Part]) -> Mapping[str, tuple[Any, Kpi]]:
    """Return the type and the KPI of each field that has one."""
    if issubclass(part, ByName):  # its numbers are in what it has by name
        return {}
    hints = typing.get_type_hints(part, include_extras=True)
    found = {}
    for field in dataclasses.fields(part):  # type: ignore[arg-type]  # every part is a dataclass
        hint, *notes = typing.get_args(hints[field.name]) or (None,)
        declared = [note for note in notes if isinstance(note, Kpi)]
        if declared:
            found[field.name] = (hint, declared[0])
    return found
