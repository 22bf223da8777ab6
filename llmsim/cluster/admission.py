"""What a gateway refuses at the door: token buckets for each tenant, and requests that would be late.

A bucket fills at its rate up to its burst, and a request takes from it what it costs; one that finds too little is
refused, and takes nothing. Early rejection (Mooncake, arXiv 2407.00079) refuses a request whose first token is expected
too late on every instance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from llmsim.cluster.fleet import Fleet
from llmsim.engine.clock import Clock
from llmsim.errors import InputError
from llmsim.request import Request

ROUNDING = 1e-9  #: of tokens in a bucket


@dataclass(frozen=True, slots=True)
class Limit:
    """What a tenant may ask for: requests, and tokens (of prompts, and the most of output that clients ask for)."""

    requests_per_s: float | None = None
    burst: float = 1.0  #: requests that may come at once
    tokens_per_s: float | None = None
    burst_tokens: float | None = None  #: tokens that may come at once; None: those of a minute

    def __post_init__(self) -> None:
        if self.requests_per_s is None and self.tokens_per_s is None:
            raise InputError("gateway limit: expected requests_per_s, tokens_per_s, or both")

    @property
    def most_tokens(self) -> float:
        """Size of the bucket of tokens."""
        return 60.0 * (self.tokens_per_s or 0.0) if self.burst_tokens is None else self.burst_tokens


@dataclass(frozen=True)
class Admission:
    """What is refused at the door of a gateway."""

    limits: Mapping[str, Limit] = field(default_factory=dict)  #: by tenant
    others: Limit | None = None  #: of each tenant that is not among them; None: no limit
    early_rejection: float | None = None  #: refuse what is expected later than so many times its TTFT bound

    @property
    def reads_instances(self) -> bool:
        """Whether it looks at the instances."""
        return self.early_rejection is not None


class Bucket:
    """A bucket that fills steadily, and is full at first."""

    __slots__ = ("_per_s", "_size", "_tokens", "_until_s")

    def __init__(self, per_s: float, size: float) -> None:
        self._per_s = per_s
        self._size = size
        self._tokens = size
        self._until_s = 0.0

    def has(self, cost: float, now_s: float) -> bool:
        """Whether there is so much in it at a time, no earlier than the last one asked for."""
        self._tokens = min(self._size, self._tokens + self._per_s * (now_s - self._until_s))
        self._until_s = now_s
        return self._tokens >= cost - ROUNDING

    def take(self, cost: float) -> None:
        """Take out what there is."""
        self._tokens -= cost


class _TenantBuckets:
    """The buckets of one tenant."""

    def __init__(self, limit: Limit) -> None:
        kinds = (("requests", limit.requests_per_s, limit.burst), ("tokens", limit.tokens_per_s, limit.most_tokens))
        self._buckets = {kind: Bucket(per_s, size) for kind, per_s, size in kinds if per_s is not None}

    def refuse(self, request: Request, now_s: float) -> str | None:
        """Say which limit a request exceeds, or take what it costs."""
        costs = {"requests": 1.0, "tokens": float(request.prompt_tokens + (request.max_tokens or 0))}
        for kind, bucket in self._buckets.items():
            if not bucket.has(costs[kind], now_s):
                return kind
        for kind, bucket in self._buckets.items():
            bucket.take(costs[kind])
        return None


class Door:
    """Refuses requests, with a reason, or lets them in."""

    def __init__(self, clock: Clock, rules: Admission, fleet: Fleet) -> None:
        self._clock = clock
        self._rules = rules
        self._fleet = fleet
        self._buckets: dict[str, _TenantBuckets] = {}

    def refuse(self, request: Request) -> str | None:
        """Return why a request that has just come is refused; None: it is let in."""
        return self._late(request) or self._over_limit(request)

    def _over_limit(self, request: Request) -> str | None:
        tenant, rules = request.tenant, self._rules
        limit = rules.limits.get(tenant, rules.others)
        if limit is None:
            return None
        if tenant not in self._buckets:
            self._buckets[tenant] = _TenantBuckets(limit)
        kind = self._buckets[tenant].refuse(request, self._clock.now_s)
        whose = f"tenant '{tenant}'" if tenant else "the gateway"
        return None if kind is None else f"over the limit of {kind} of {whose}"

    def _late(self, request: Request) -> str | None:
        times, slo, fleet = self._rules.early_rejection, request.slo, self._fleet
        if times is None or slo is None or slo.ttft_s is None:
            return None
        if self._clock.now_s >= fleet.due_s:
            fleet.refresh()
        expected_s = float(np.min((fleet.waiting_tokens + request.prompt_tokens) / fleet.prefill_tokens_per_s))
        return None if expected_s <= times * slo.ttft_s else "its first token is expected too late"


class OpenDoor:
    """Lets every request in."""

    def refuse(self, request: Request) -> str | None:
        """Return None."""
        return None


def limits_of(limits: Sequence[tuple[str | None, Limit]]) -> tuple[dict[str, Limit], Limit | None]:
    """Tell the limits of named tenants from the one of all others, which has no name; InputError for two of one."""
    named: dict[str | None, Limit] = {}
    for tenant, limit in limits:
        if tenant in named:
            whose = "all other tenants" if tenant is None else f"tenant '{tenant}'"
            raise InputError(f"two limits of {whose}; expected one for each")
        named[tenant] = limit
    others = named.pop(None, None)
    return {tenant: limit for tenant, limit in named.items() if tenant is not None}, others
