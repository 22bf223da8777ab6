"""The tables of a scenario that stand between clients and engines: [clients], [gateway], [delivery], [abandonment]."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from llmsim.quantities import Count, NotNegative, Positive
from llmsim.scenario.table import Table


class ClientsTable(Table):
    """The senders of the requests."""

    #: most requests in flight; the others wait at the client, as behind --max-concurrency of vLLM's benchmark
    max_in_flight: Count | None = None
    #: latencies count from a request's arrival at the client, or from its sending, as benchmarks count; left out:
    #: "sent" in a closed loop, "arrival" otherwise
    measure_from: Literal["arrival", "sent"] | None = None
    #: the most output tokens that each request asks for, which SGLang's scheduler reckons with; left out: it asks for
    #: no bound
    max_tokens: Count | None = None
    #: each request asks for exactly the tokens that it gets, as benchmark tools do, so that the engine knows how many
    ignore_eos: bool = False

    @model_validator(mode="after")
    def _one_length(self) -> ClientsTable:
        if self.ignore_eos and self.max_tokens is not None:
            raise ValueError("max_tokens and ignore_eos exclude each other: with ignore_eos each asks for what it gets")
        return self


class LimitTable(Table):
    """A token bucket for a tenant's requests, one for its tokens, or both; what finds too little there is rejected."""

    #: left out: each tenant that no other limit names, with buckets of its own
    tenant: Annotated[str, Field(min_length=1)] | None = None
    #: requests that a bucket gains
    requests_per_s: Positive | None = None
    #: requests that may come at once
    burst: Annotated[float, Field(ge=1, le=1e9)] = 1.0
    #: of prompts, and of the outputs that clients ask for (clients.max_tokens)
    tokens_per_s: Positive | None = None
    #: tokens that may come at once; left out: those of a minute
    burst_tokens: Positive | None = None

    @model_validator(mode="after")
    def _something_is_limited(self) -> LimitTable:
        if self.requests_per_s is None and self.tokens_per_s is None:
            raise ValueError("no limit; expected requests_per_s, tokens_per_s, or both")
        if self.burst != 1 and self.requests_per_s is None:
            raise ValueError("burst belongs to requests_per_s, and there is none")
        if self.burst_tokens is not None and self.tokens_per_s is None:
            raise ValueError("burst_tokens belongs to tokens_per_s, and there is none")
        return self


class GatewayTable(Table):
    """The limits of what stands between clients and engines; its times are those of [host] but step_s, sequence_s."""

    #: most requests that it lets through at once; the others queue, before the router sees them
    max_concurrency: Count | None = None
    #: most requests in that queue; further ones are rejected
    max_queue: Annotated[int, Field(ge=0, le=10**9)] | None = None
    #: [[gateway.limits]] tables: what tenants may ask for
    limits: Annotated[tuple[LimitTable, ...], Field(strict=False)] = ()
    #: reject a request whose first token is expected later than so many times its slo.ttft_s, on every instance
    early_rejection: Positive | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_left_out(self, full: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = full(self)
        return {key: value for key, value in values.items() if value or key not in ("limits", "early_rejection")}

    @model_validator(mode="after")
    def _queue_needs_a_limit(self) -> GatewayTable:
        if self.max_queue is not None and self.max_concurrency is None:
            raise ValueError("max_queue without max_concurrency: no request would ever queue; expected both")
        return self


class NoAbandonmentTable(Table):
    """The server serves every request, however late."""

    policy: Literal["never"] = "never"


class AbandonmentTable(Table):
    """The server gives up on requests: once they have missed a deadline, or as soon as they must."""

    policy: Literal["missed", "must_miss"]
    #: give up on requests that wait
    waiting: bool = True
    #: give up on requests that run
    running: bool = True
    #: the first token's deadline after the arrival; [slo]'s if not given
    ttft_s: Positive | None = None
    #: the last token's deadline after the arrival; [slo]'s if not given
    e2e_s: Positive | None = None
    #: token i is due i / tokens_per_s after the arrival
    tokens_per_s: Positive | None = None

    @model_validator(mode="after")
    def _somebody(self) -> AbandonmentTable:
        if not (self.waiting or self.running):
            raise ValueError("waiting and running are both false: no request would be given up; expected one of them")
        return self


class ImmediateDelivery(Table):
    """Users get each token as it is emitted."""

    policy: Literal["immediate"] = "immediate"


class PacedDelivery(Table):
    """The gateway holds tokens back: to a gap (`tbt_s`) or a rate from the first token on (`tokens_per_s`)."""

    policy: Literal["paced"] = "paced"
    tbt_s: Positive | None = None
    tokens_per_s: Positive | None = None
    #: hold the first token until this long after the arrival
    ttft_s: NotNegative = 0.0

    @model_validator(mode="after")
    def _one_pace(self) -> PacedDelivery:
        if self.tbt_s is not None and self.tokens_per_s is not None:
            raise ValueError("tbt_s and tokens_per_s exclude each other; give one of them")
        if self.tbt_s is None and self.tokens_per_s is None and self.ttft_s == 0:
            raise ValueError("policy 'paced' needs tbt_s, tokens_per_s or ttft_s")
        return self


GivingUp = Annotated[NoAbandonmentTable | AbandonmentTable, Field(discriminator="policy")]
Delivery = Annotated[ImmediateDelivery | PacedDelivery, Field(discriminator="policy")]
