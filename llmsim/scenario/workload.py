"""The tables of a scenario that say which requests come, and when: drawn, or read from a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from llmsim.errors import nearest
from llmsim.quantities import Count, NotNegative, Positive, Requests
from llmsim.scenario.measuring import SloTable, UserTable
from llmsim.scenario.named import Named
from llmsim.scenario.table import Table
from llmsim.scenario.users import SessionsTable
from llmsim.workload.arrival_process import ArrivalProcess
from llmsim.workload.classes import Stage
from llmsim.workload.length_source import LengthSource
from llmsim.workload.synthetic import ARRIVALS, LENGTHS
from llmsim.workload.trace_format import format_names
from llmsim.workload.trace_layout import AUTO, COLUMN_KEYS, Turns

CLOSED = "closed"  #: the arrival process that depends on the server


class ArrivalsTable(Named):
    """When requests come: `process` names an arrival process, every other key is an option of it."""

    key: ClassVar[str] = "process"
    package: ClassVar[str] = ARRIVALS
    base: ClassVar[type] = ArrivalProcess

    #: a name of `llmsim list arrivals`; its options stand beside it
    process: str

    @property
    def concurrency(self) -> int | None:
        """Number of clients of a closed loop, each with one request in flight; None for every other process."""
        return self.options["concurrency"] if self.process == CLOSED else None


class LengthsTable(Named):
    """How long requests are: `source` names a length source, every other key is an option of it."""

    key: ClassVar[str] = "source"
    package: ClassVar[str] = LENGTHS
    base: ClassVar[type] = LengthSource

    #: a name of `llmsim list lengths`; its options stand beside it
    source: str


class SharedPrefixesTable(Table):
    """What stands before every drawn prompt: one of a few system prompts, then what is known of one of its users."""

    system_prompts: Count = 1
    system_tokens: Count
    #: users of each system prompt, every one with a text of user_tokens of their own
    users: Count = 1
    user_tokens: Annotated[int, Field(ge=0, le=10**9)] = 0
    #: which user is next: drawn at random, or all in turn
    order: Literal["random", "cycle"] = "random"

    @model_validator(mode="after")
    def _users_differ(self) -> SharedPrefixesTable:
        if self.users > 1 and self.user_tokens == 0:
            raise ValueError(f"{self.users} users with user_tokens = 0 cannot be told apart; expected at least 1")
        return self


class RequestClass(Table):
    """Requests that are alike: chosen by `weight`, by their prompts or their stage, or with arrivals of their own."""

    name: Annotated[str, Field(min_length=1)]
    #: whose they are, where service is shared out between tenants; left out: the class is a tenant of its own
    tenant: Annotated[str, Field(min_length=1)] | None = None
    #: as in vLLM: the lower value goes first
    priority: int = 0
    #: share of the requests, in proportion to the other classes' weights
    weight: Positive | None = None
    #: the longest prompt of this class, of those that no class before it takes; the last class has none
    max_prompt_tokens: Count | None = None
    #: in place of a weight: the first request of each conversation, its last one, or the later ones (all others)
    stage: Stage | None = None
    #: when its requests come, in place of a weight
    arrivals: ArrivalsTable | None = None
    #: how long its requests are; left out: as [workload] lengths has it
    lengths: LengthsTable | None = None
    #: prepended to its prompts; left out: as [workload] prefixes has it
    prefixes: SharedPrefixesTable | None = None
    #: what its clients declare, and its score goes by; left out: the scenario's [slo]
    slo: SloTable | None = None
    #: its readers; left out: the scenario's [user]
    user: UserTable | None = None
    #: mean tokens that a step yields of each of its requests; left out: as [speculation] has it
    acceptance_length: float | None = None


def _one_rule(classes: tuple[RequestClass, ...]) -> tuple[RequestClass, ...]:
    """Check that all classes have weights, arrivals or stages, or all but the last one longer and longer prompts."""
    names = [each.name for each in classes]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two classes are called '{twice[0]}'; expected names that differ")
    weights = [each.weight for each in classes if each.weight is not None]
    longest = [each.max_prompt_tokens for each in classes if each.max_prompt_tokens is not None]
    arrivals = [each.arrivals for each in classes if each.arrivals is not None]
    stages = [each.stage for each in classes if each.stage is not None]
    kinds = {"weight": weights, "max_prompt_tokens": longest, "arrivals": arrivals, "stage": stages}
    if len(given := [kind for kind, values in kinds.items() if values]) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other; give one of them to all classes")
    if arrivals and len(arrivals) < len(classes):
        raise ValueError("arrivals are of some classes only; give them to all, or weights to all")
    if any(each.concurrency is not None for each in arrivals):
        raise ValueError("closed arrivals are of the whole workload, not of a class; expected an open process")
    if longest:
        if [each.max_prompt_tokens for each in classes] != [*sorted(set(longest)), None]:
            raise ValueError("max_prompt_tokens must grow from class to class, and the last class have none")
    elif stages:
        if len(stages) != len(classes) or len(set(stages)) < len(stages) or "later" not in stages:
            raise ValueError('each class needs a stage of its own ("first", "later", "last"), and one of them "later"')
    elif len(weights) != len(classes) and not arrivals:
        raise ValueError(_without_weight(classes))
    return classes


def _without_weight(classes: tuple[RequestClass, ...]) -> str:
    without = next(each.name for each in classes if each.weight is None)
    others = next((f", and class '{each.name}' has one" for each in classes if each.weight is not None), "")
    return (
        f"class '{without}' has no weight{others}; each class needs a weight, or arrivals, or a stage, or each but the "
        "last max_prompt_tokens"
    )


#: what a class may have of its own where its requests are drawn
DRAWN = ("arrivals", "lengths", "prefixes")


def _as_in_file(classes: tuple[RequestClass, ...]) -> tuple[RequestClass, ...]:
    for each in classes:
        for key in DRAWN:
            if getattr(each, key) is not None:
                raise ValueError(
                    f"class '{each.name}' has {key}, but those of requests are in the file; leave them out"
                )
    return classes


ClassTables = Annotated[tuple[RequestClass, ...], Field(strict=False), AfterValidator(_one_rule)]
FileClassTables = Annotated[ClassTables, AfterValidator(_as_in_file)]


class SyntheticWorkload(Table):
    """Requests drawn at random."""

    requests: Requests = 1000
    arrivals: ArrivalsTable = ArrivalsTable.of("poisson", rate_per_s=1.0)
    lengths: LengthsTable = LengthsTable.of("sharegpt")
    classes: ClassTables = ()
    #: prepended to the prompts of `lengths`
    prefixes: SharedPrefixesTable | None = None
    #: conversations; left out, each request stands alone
    sessions: SessionsTable | None = None

    @model_validator(mode="after")
    def _classes_fit(self) -> SyntheticWorkload:
        if self.sessions is None and any(each.stage is not None for each in self.classes):
            raise ValueError("stages of classes are those of conversations, and there is no workload.sessions")
        own = [key for key in DRAWN if any(getattr(each, key) is not None for each in self.classes)]
        if own and self.sessions is not None:
            raise ValueError(f"{own[0]} of classes exclude sessions: write such a mix as a trace")
        if own and any(each.max_prompt_tokens is not None for each in self.classes):
            raise ValueError(f"{own[0]} of classes need weights: by max_prompt_tokens, prompts come before classes")
        if "arrivals" in own and "arrivals" in self.model_fields_set:
            raise ValueError(
                "arrivals of classes take the place of workload.arrivals; leave that out (--set workload.arrivals=null)"
            )
        if "prefixes" in own and self.prefixes is not None and all(each.prefixes is not None for each in self.classes):
            raise ValueError("every class has prefixes of its own: those of the workload are of no use; leave them out")
        return self

    @property
    def classes_arrive(self) -> bool:
        """Whether each class has arrivals of its own."""
        return any(each.arrivals is not None for each in self.classes)

    @model_serializer(mode="wrap")
    def _without_what_is_not_used(self, full: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = full(self)
        if self.classes_arrive:
            del values["arrivals"]
        return values

    @model_validator(mode="after")
    def _sessions_fit(self) -> SyntheticWorkload:
        if self.sessions is None:
            return self
        if self.prefixes is not None:
            raise ValueError("prefixes and sessions exclude each other: what turns share is their history")
        if self.sessions.pause is not None and self.arrivals.concurrency is None:
            raise ValueError("sessions.pause belongs to closed arrivals, whose users have many conversations")
        return self


def _known_format(name: str) -> str:
    if name != AUTO and name not in (known := format_names()):
        raise ValueError(f"unknown trace format '{name}'{nearest(name, [AUTO, *known])}")
    return name


def _known_columns(columns: dict[str, str]) -> dict[str, str]:
    for key in columns:
        if key not in COLUMN_KEYS:
            raise ValueError(f"unknown key '{key}'{nearest(key, COLUMN_KEYS)}")
    return columns


class TraceWorkload(Table):
    """Requests read from a file: all, or a window, or the first `limit` (alias `requests`) of that."""

    trace: str = Field(description="give the file with --set workload.trace=PATH")
    #: a name of `llmsim list traces`; auto: by its columns
    format: Annotated[str, AfterValidator(_known_format)] = AUTO
    #: arrival, prompt_tokens, output_tokens, hash_ids, session_id, delay -> the file's names of these columns
    columns: Annotated[dict[str, str], AfterValidator(_known_columns)] = Field(default_factory=dict)
    #: unit of the file's times; left out, the format's
    time_unit: Literal["s", "ms", "us", "ns", "date"] | None = None
    #: tokens for each of the file's hash_ids; left out, the format's (512; Bailian: 16)
    hash_block_tokens: Count | None = None
    #: what prompts of later turns are: all that the model reads, or what is new, after all that was said before
    turns: Turns = "whole"
    #: of a file with texts: tokens for each character (English: about 0.25)
    tokens_per_character: Positive | None = None
    #: of a file with texts: a tokenizer.json, which counts their tokens
    tokenizer: str | None = None
    #: when requests and conversations begin, in place of the file's times; needed where it has none
    arrivals: ArrivalsTable | None = None
    rate_scale: Positive = 1.0
    #: so many times as many requests in the same time: copies at other times of the trace, or fewer, at random
    superpose: Annotated[float, Field(gt=0, le=1000)] = 1.0
    start_s: NotNegative = 0.0
    duration_s: Positive | None = None
    limit: Requests | None = Field(None, validation_alias=AliasChoices("limit", "requests"))
    classes: FileClassTables = ()


class ServeGenWorkload(Table):
    """Requests drawn for a population of clients: all, a window, or the first `limit` (alias `requests`) of that."""

    servegen: str = Field(description="give the folder or archive with --set workload.servegen=PATH")
    #: multiplies every client's rate; windows keep their lengths, gaps their CV
    rate_scale: Positive = 1.0
    start_s: NotNegative = 0.0
    duration_s: Positive | None = None
    limit: Requests | None = Field(None, validation_alias=AliasChoices("limit", "requests"))
    classes: FileClassTables = ()


#: keys that name what a workload is read from
WORKLOAD_FILES = ("trace", "servegen")
#: keys that describe drawn requests, and make room for a file's; a trace may have arrivals of its own all the same
SYNTHETIC_KEYS = SyntheticWorkload.model_fields.keys() - TraceWorkload.model_fields.keys() | {"arrivals"}
TRACE_KEYS = TraceWorkload.model_fields.keys() - SyntheticWorkload.model_fields.keys()


def _kind_of_workload(table: Any) -> str:
    """Name the variant, so that messages speak of the keys of one kind only."""
    if not isinstance(table, Mapping):
        if isinstance(table, TraceWorkload):
            return "trace"
        return "servegen" if isinstance(table, ServeGenWorkload) else "synthetic"
    if file := next((key for key in WORKLOAD_FILES if key in table), None):
        return file
    return "trace" if TRACE_KEYS & table.keys() and not SYNTHETIC_KEYS & table.keys() else "synthetic"


WorkloadTable = Annotated[
    Annotated[SyntheticWorkload, Tag("synthetic")]
    | Annotated[TraceWorkload, Tag("trace")]
    | Annotated[ServeGenWorkload, Tag("servegen")],
    Discriminator(_kind_of_workload),
]
