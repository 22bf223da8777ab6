"""The score of requests or of a run: typed sections, whose numbers are found by their names in JSON, too."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from llmsim.metrics import catalogue, ranges
from llmsim.metrics.kpi import OfRequests, OfRun, Section
from llmsim.metrics.scored import OfClass, Requests, Run
from llmsim.metrics.sections.attainment import Attainment
from llmsim.metrics.sections.choices import Choices
from llmsim.metrics.sections.class_scores import ClassScores
from llmsim.metrics.sections.other_forms import OtherForms
from llmsim.metrics.sections.together import Together
from llmsim.metrics.smooth_goodput import User
from llmsim.metrics.window import ARRIVALS, Window, resolve, run_end_s
from llmsim.record import Floats, Timelines
from llmsim.slo import Slo

S = TypeVar("S", bound=Section)


#: sections by their kind; None: does not apply, and is null in JSON
Sections = Mapping[type[Section], Section | None]


@dataclass(frozen=True, eq=False)
class Score(Mapping[str, Any]):
    """Sections of a score: typed by `section`, or by their names in JSON, also dotted: ``score["ttft_s.p99"]``."""

    sections: Sections

    @classmethod
    def of(cls, sections: Sections) -> Score:
        """Put sections in the order of the catalogue."""
        order = {kind: None for kind in (*catalogue.sections(), *sections) if kind in sections}
        return cls({kind: sections[kind] for kind in order})

    def having(self, *sections: Section) -> Score:
        """Return a score with these sections, in place of its own of the same kind."""
        return Score.of({**self.sections, **{type(section): section for section in sections}})

    def without(self, names: Collection[str]) -> Score:
        """Return a score with None in some fields of sections that stand in the score itself."""
        own = [section for section in self.sections.values() if section is not None and not section.key]
        gone = [(section, dict.fromkeys(set(section) & set(names))) for section in own]
        return self.having(*(section.changed(**nothing) for section, nothing in gone if nothing))

    def section(self, kind: type[S]) -> S:
        """Return a section; KeyError if it is not there."""
        found = self.find(kind)
        if found is None:
            raise KeyError(kind.__name__)
        return found

    def find(self, kind: type[S]) -> S | None:
        """Return a section, None if it is not there."""
        found = self.sections.get(kind)
        return found if isinstance(found, kind) else None

    def __getitem__(self, key: str) -> Any:
        first, *others = key.split(".")
        value = self._top(first)
        for name in others:
            value = value[name]
        return value

    def _top(self, name: str) -> Any:
        for kind, section in self.sections.items():
            if kind.key == name:
                return section
            if not kind.key and name in _names(kind, section):
                return None if section is None else section[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        for kind, section in self.sections.items():
            if kind.key:
                yield kind.key
            else:
                yield from _names(kind, section)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        out: dict[str, Any] = {}
        for kind, section in self.sections.items():
            values = None if section is None else section.to_dict()
            out |= {kind.key: values} if kind.key else values or dict.fromkeys(_names(kind, section))
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Score:
        """Make a score from JSON values, of those sections that are there.

        ValueError or TypeError for values of other types. What no section of this version has is left out.
        """
        return cls.of({kind: _read(kind, values) for kind in catalogue.sections() if _is_there(kind, values)})


def _names(kind: type[Section], section: Section | None) -> list[str]:
    """Names in JSON of the fields of a section that stand in the score itself."""
    return [field.name for field in fields(kind)] if section is None else section.present()  # type: ignore[arg-type]


def _is_there(kind: type[Section], values: Mapping[str, Any]) -> bool:
    needed = (field.name for field in fields(kind) if field.default is not None)  # type: ignore[arg-type]
    return kind.key in values if kind.key else all(name in values for name in needed)


def _read(kind: type[Section], values: Mapping[str, Any]) -> Section | None:
    if kind.key:
        return None if values[kind.key] is None else kind.read(values[kind.key])
    own = {name: values[name] for name in _names(kind, None) if name in values}
    return None if kind.always and not any(own.values()) else kind.read(own)


def score(
    timelines: Timelines,
    *,
    slo: Slo | None = None,
    user: User | None = None,
    window: Window = ARRIVALS,
    first_scheduled_s: Floats | None = None,
    end_s: float | None = None,
    forms: bool = False,
) -> Score:
    """Score the requests of `window`; with `forms` by the rules of other papers as well.

    Latencies, attainment, goodput and smooth goodput rest on the requests that arrive in the window,
    whenever they end; `output_tokens_per_s` and `requests_per_s` on what is delivered inside it.
    `first_scheduled_s` (N,) is NaN where a request was never scheduled. `end_s` is when the run ended, for
    users charged `until_run_end`. Every choice is under `choices`.
    """
    end_s = run_end_s(timelines) if end_s is None else end_s
    requests = Requests(timelines, resolve(window, timelines), slo, user, first_scheduled_s, end_s)
    other: Sections = {OtherForms: OtherForms.of(requests)} if forms else {}
    return Score.of({**_of_requests(requests), Choices: Choices.of(requests, window), **other})


def class_sections(
    timelines: Timelines,
    classes: Mapping[str, OfClass],
    *,
    window: Window = ARRIVALS,
    first_scheduled_s: Floats | None = None,
    end_s: float | None = None,
) -> Iterator[Section]:
    """Score each class by itself, and all of them together, if there are any; otherwise as `score`."""
    if classes:
        end_s = run_end_s(timelines) if end_s is None else end_s
        yield score_classes(timelines, classes, window=window, first_scheduled_s=first_scheduled_s, end_s=end_s)
        yield Together.of(timelines, classes, resolve(window, timelines), end_s)


def score_classes(
    timelines: Timelines,
    classes: Mapping[str, OfClass],
    *,
    window: Window = ARRIVALS,
    first_scheduled_s: Floats | None = None,
    end_s: float | None = None,
) -> ClassScores:
    """Score each class of requests by itself, by its own SLO and reader.

    All classes have the window of the whole, so that their rates add up to its rates. Otherwise as `score`, with the
    bounds of a class under `slo.bounds`.
    """
    whole = resolve(window, timelines)
    end_s = run_end_s(timelines) if end_s is None else end_s
    scores = {}
    for name, each in classes.items():
        span = replace(whole, counted=whole.counted[each.mine])
        scheduled_s = None if first_scheduled_s is None else first_scheduled_s[each.mine]
        own = ranges.select(timelines, each.mine)
        scores[name] = Score.of(_of_requests(Requests(own, span, each.slo, each.user, scheduled_s, end_s)))
        if each.slo is not None:
            attained = scores[name].section(Attainment)
            scores[name] = scores[name].having(replace(attained, bounds=asdict(each.slo)))
    return ClassScores(scores)


def _of_requests(requests: Requests) -> Sections:
    kinds = [kind for kind in catalogue.sections() if issubclass(kind, OfRequests)]
    return _there({kind: kind.of(requests) for kind in kinds})


def sections_of_run(run: Run) -> Sections:
    """Measure every section that rests on a run's record."""
    kinds = [kind for kind in catalogue.sections() if issubclass(kind, OfRun)]
    return _there({kind: kind.of(run) if kind.applies(run.scenario) else None for kind in kinds})


def _there(sections: Sections) -> Sections:
    return {kind: section for kind, section in sections.items() if section is not None or kind.always}
