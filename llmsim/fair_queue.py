"""A queue that shares service out between tenants: the counters of VTC (arXiv 2401.00588, OSDI 2024).

Every tenant has a counter of the service that it has had: so much for each token of an admitted prompt, so much for
each output token, divided by the tenant's weight. The head of the waiting tenant with the least counter is next. A
tenant that begins to wait is *lifted* to the least counter of those that wait already, or, if none does, to the counter
of the tenant that waited last: the time that it was away is no credit.

What a request has cost stands on the request itself, so that the queue only has to remember those that it let go. It
counts when it is read, at a step boundary: a tenant that begins to wait in between is lifted at the next one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from math import isnan

from llmsim.request import UNFINISHED, Request


@dataclass(frozen=True)
class Charges:
    """What tenants are charged."""

    prompt: float = 1.0  #: for each token of a prompt, when it is admitted
    output: float = 2.0  #: for each output token
    weights: Mapping[str, float] = field(default_factory=dict)  #: by which charges are divided; 1 for other tenants
    lift: bool = True
    predicted: bool = False  #: charge the predicted output with the prompt, and correct it as the request goes on

    def at_admission(self, request: Request) -> float:
        """What a waiting request will be charged when it is admitted: nothing, if it has been before."""
        if not isnan(request.first_scheduled_s):
            return 0.0
        output = (request.predicted_output_tokens or 0) if self.predicted else 0
        return self.prompt * request.prompt_tokens + self.output * output


class _Tenant:
    """One tenant: its waiting requests, and what it has been charged."""

    __slots__ = ("charges", "let_go", "lifted", "number", "output_tokens", "prompt_tokens", "waiting", "weight")

    def __init__(self, charges: Charges, name: str, number: int) -> None:
        self.charges = charges
        self.number = number  #: ties go by it
        self.weight = charges.weights.get(name, 1.0)
        self.waiting: OrderedDict[int, Request] = OrderedDict()
        self.let_go: dict[int, Request] = {}  #: admitted or withdrawn, and not known to have ended
        self.prompt_tokens = self.output_tokens = 0  #: of those that have ended
        self.lifted = 0.0  #: by how much in all

    def counter(self) -> float:
        """What it has been charged by now, per weight, with all that it was lifted."""
        prompts = outputs = 0
        over: list[Request] = []
        for request in self.let_go.values():  # asked for at each step: all that runs is looked at, so few calls
            if request.ended_as is not UNFINISHED:
                over.append(request)
            elif not isnan(request.first_scheduled_s):
                prompts += request.prompt_tokens
                emitted = request.emitted_tokens
                predicted = (request.predicted_output_tokens or 0) if self.charges.predicted else 0
                outputs += emitted if emitted > predicted else predicted
        for request in over:
            self._settle(request)
        prompts, outputs = prompts + self.prompt_tokens, outputs + self.output_tokens
        return self.lifted + (self.charges.prompt * prompts + self.charges.output * outputs) / self.weight

    def _settle(self, request: Request) -> None:
        """Count a request that has ended, once and for all: what it was predicted to emit no longer matters."""
        del self.let_go[request.id]
        if not isnan(request.first_scheduled_s):
            self.prompt_tokens += request.prompt_tokens
            self.output_tokens += request.emitted_tokens


class FairQueue:
    """Waiting requests, each tenant's in order of arrival, the tenant with the least counter first."""

    def __init__(self, charges: Charges) -> None:
        self._charges = charges
        self._tenants: dict[str, _Tenant] = {}
        self._tenant_of: dict[int, _Tenant] = {}  # of waiting requests
        self._begun: dict[_Tenant, None] = {}  # tenants that have begun to wait since the queue was read
        self._waited_last: _Tenant | None = None

    def __len__(self) -> int:
        return len(self._tenant_of)

    def __iter__(self) -> Iterator[int]:
        return (request.id for request in self._in_order())

    def __setitem__(self, id: int, request: Request, /) -> None:
        self.pop(id, None)
        tenant = self._tenants.get(request.tenant)
        if tenant is None:
            tenant = self._tenants[request.tenant] = _Tenant(self._charges, request.tenant, len(self._tenants))
        if not tenant.waiting:
            self._begun[tenant] = None
        tenant.waiting[id] = request
        self._tenant_of[id] = tenant

    def get(self, id: int, /) -> Request | None:
        """Return a request, or None if it does not wait."""
        tenant = self._tenant_of.get(id)
        return None if tenant is None else tenant.waiting[id]

    def pop(self, id: int, default: None = None, /) -> Request | None:
        """Take a request out and return it, or None if it does not wait."""
        tenant = self._tenant_of.pop(id, None)
        if tenant is None:
            return default
        request = tenant.let_go[id] = tenant.waiting.pop(id)
        if not tenant.waiting:
            self._waited_last = tenant
            self._begun.pop(tenant, None)
        return request

    def move_to_end(self, id: int, last: bool = True) -> None:
        """Put a request that was preempted to the head of its tenant's, which does not begin to wait by that."""
        tenant = self._tenant_of[id]
        tenant.waiting.move_to_end(id, last)
        if not last and len(tenant.waiting) == 1:
            self._begun.pop(tenant, None)

    def values(self) -> Iterable[Request]:
        """Requests in the order in which they are to be admitted."""
        return _Reading(self)

    def _in_order(self) -> Iterator[Request]:
        """Count in what has come, and yield the head of the least counter, charged as if it were admitted."""
        counters = self._lifted()
        heap = [(counters[t], t.number, t, iter(t.waiting.values())) for t in self._tenants.values() if t.waiting]
        heapify(heap)
        while heap:
            counter, number, tenant, others = heap[0]
            request = next(others, None)
            if request is None:
                heappop(heap)
                continue
            yield request
            charged = counter + self._charges.at_admission(request) / tenant.weight
            heapreplace(heap, (charged, number, tenant, others))

    def _lifted(self) -> dict[_Tenant, float]:
        """Lift the tenants that have begun to wait, in order; return the counters of those that wait."""
        counters = {tenant: tenant.counter() for tenant in self._tenants.values() if tenant.waiting}
        settled = [tenant for tenant in counters if tenant not in self._begun]
        for tenant in self._begun:
            if settled:
                least = min(counters[other] for other in settled)
            else:
                least = counters[tenant] if self._waited_last is None else self._waited_last.counter()
            if self._charges.lift and least > counters[tenant]:
                tenant.lifted += least - counters[tenant]
                counters[tenant] = least
            settled.append(tenant)
        self._begun.clear()
        return counters


class _Reading:
    """The requests of a queue, in order. Looking at the first few costs no more than these few, and the counters."""

    __slots__ = ("_queue",)

    def __init__(self, queue: FairQueue) -> None:
        self._queue = queue

    def __iter__(self) -> Iterator[Request]:
        return self._queue._in_order()
