"""What other papers call goodput, capacity and experience, each by its own rule; measured where it is asked for.

Their bounds on the first token and on the time per token are those of the SLO, their speed is the reader's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np

from llmsim.metrics import goodput, ranges, request_latency
from llmsim.metrics.fluidity import fluid_token_rate_per_s, fluidity_index
from llmsim.metrics.kpi import LESS, MORE, Kpi, Section
from llmsim.metrics.qoe import qoe
from llmsim.metrics.scored import Requests
from llmsim.metrics.slo import attainment, meets
from llmsim.metrics.smooth_goodput import benefit_tokens
from llmsim.metrics.stage_slo import meets_stages
from llmsim.metrics.summary import number
from llmsim.metrics.window import per_second
from llmsim.record import Floats, Timelines
from llmsim.request import Outcome
from llmsim.scenario import Scenario
from llmsim.slo import Slo

CAPACITY_SHARE = 0.9  #: of requests within their SLO, up to the capacity of DistServe and SLOs-Serve
#: forms that cannot be had without a bound on the first token
NEED_TTFT = frozenset({"jitserve_tokens_per_s", "aegaeon_attainment"})
#: forms that cannot be had without a bound on the time per token
NEED_PER_TOKEN = NEED_TTFT | {"sarathi_holds", "slos_serve_attainment", "slos_serve_holds"}
#: forms that no bound of the SLO changes
WITHOUT_SLO = frozenset(
    {
        "vidur_holds",
        "normalised_latency_s",
        "interactivity_p90_tokens_per_s",
        "smooth_goodput_per_request_tokens",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class OtherForms(Section):
    """Numbers of the requests that count; None where the SLO lacks a bound, or the result what they rest on.

    A capacity is the highest load at which its test holds: here is whether it holds at this one, 1 or 0.
    """

    key: ClassVar[str] = "forms"
    compared: ClassVar[bool] = False
    on_request: ClassVar[bool] = True

    distserve_holds: Annotated[float | None, Kpi("DistServe: 90 % within the SLO", "", "test", MORE)]
    sarathi_holds: Annotated[
        float | None, Kpi("Sarathi: P99 TBT within its bound, median queueing within 2 s", "", "test", MORE)
    ]
    vidur_holds: Annotated[float | None, Kpi("Vidur: P99 queueing below 5 s", "", "test", MORE)]
    slos_serve_attainment: Annotated[
        float | None, Kpi("SLOs-Serve: TTFT and every 10 tokens in time", "share", "share", MORE, shown_in="%")
    ]
    slos_serve_holds: Annotated[float | None, Kpi("SLOs-Serve: 90 % of that", "", "test", MORE)]
    mooncake_effective_tokens_per_s: Annotated[
        float | None, Kpi("Mooncake: effective throughput", "tokens/s", "rate", MORE)
    ]
    mooncake_wasted_tokens_per_s: Annotated[float | None, Kpi("Mooncake: wasted", "tokens/s", "rate", LESS)]
    jitserve_tokens_per_s: Annotated[float | None, Kpi("JITServe: tokens by TTFT* + i TBT*", "tokens/s", "rate", MORE)]
    aegaeon_attainment: Annotated[
        float | None, Kpi("Aegaeon: tokens by TTFT* + (i - 1) TBT*", "share", "share", MORE, shown_in="%")
    ]
    andes_qoe: Annotated[float | None, Kpi("Andes: mean QoE, late tokens only", "", "ratio", MORE)]
    andes_qoe_readable: Annotated[float | None, Kpi("Andes: mean QoE, tokens as they can be read", "", "ratio", MORE)]
    fluidity_index: Annotated[float | None, Kpi("Etalon: mean fluidity index", "", "ratio", MORE)]
    fluid_tokens_per_s: Annotated[float | None, Kpi("Etalon: fluid token rate", "tokens/s", "rate", MORE)]
    normalised_latency_s: Annotated[float | None, Kpi("Orca, vLLM: mean E2E per token", "s", "time", LESS)]
    interactivity_p90_tokens_per_s: Annotated[
        float | None, Kpi("InferenceX: P90 interactivity", "tokens/s", "rate", MORE)
    ]
    #: of finite bursts: the same however many there are, and over whatever time a rate would be
    smooth_goodput_per_request_tokens: Annotated[
        float | None, Kpi("smooth goodput per request", "tokens", "rate", MORE)
    ]

    @classmethod
    def applies(cls, scenario: Scenario) -> bool:
        """No score has it by itself."""
        return False

    @classmethod
    def of(cls, requests: Requests) -> Self:
        """Measure; costs time in proportion to all tokens."""
        counted, slo = requests.counted, requests.slo
        per_token_s = None if slo is None else slo.per_token_s
        ttft_s = None if slo is None else slo.ttft_s
        stages = None if slo is None or per_token_s is None else _mean(meets_stages(counted, slo))
        finished = counted.outcome == Outcome.FINISHED
        normalised_s = request_latency.normalised_latency_s(counted)[finished]
        effective, total = (None, None) if slo is None else _mooncake(requests, slo)
        return cls(
            _as_number(None if slo is None else attainment(counted, slo) >= CAPACITY_SHARE),
            _sarathi(counted, requests.first_scheduled_s, per_token_s),
            _vidur(counted, requests.first_scheduled_s),
            stages,
            _as_number(None if stages is None else stages >= CAPACITY_SHARE),
            effective,
            None if effective is None or total is None else total - effective,
            *_by_deadlines(requests, ttft_s, per_token_s),
            *_experience(requests, ttft_s, per_token_s),
            _mean(normalised_s),
            number(1 / float(np.percentile(normalised_s, 90))) if len(normalised_s) else None,
            None if requests.user is None else _mean(benefit_tokens(counted, requests.user, end_s=requests.end_s)),
        )


def is_form(key: str) -> bool:
    """Whether a key of a score is of these forms."""
    return key.startswith(f"{OtherForms.key}.")


def lacking_bound(key: str, slo: Slo) -> str:
    """Which bound a form needs that the SLO does not have, in words; "" where it has them all."""
    name = key.removeprefix(f"{OtherForms.key}.")
    if name in NEED_PER_TOKEN and slo.per_token_s is None:
        return "[slo] bounds no time per token; give slo.tpot_s"
    if name in NEED_TTFT and slo.ttft_s is None:
        return "[slo] bounds no first token; give slo.ttft_s"
    return ""


def _mean(values: np.ndarray) -> float | None:
    return number(float(np.mean(values))) if len(values) else None


def _as_number(holds: bool | None) -> float | None:
    return None if holds is None else float(holds)


def _sarathi(counted: Timelines, scheduled_s: Floats | None, tbt_s: float | None) -> float | None:
    if scheduled_s is None or tbt_s is None:
        return None
    return _as_number(goodput.sarathi_holds(counted, scheduled_s, tbt_s=tbt_s))


def _vidur(counted: Timelines, scheduled_s: Floats | None) -> float | None:
    return None if scheduled_s is None else _as_number(goodput.vidur_holds(counted, scheduled_s))


def _mooncake(requests: Requests, slo: Slo) -> tuple[float | None, float | None]:
    """Tokens/s of requests within the SLO, and of all."""
    n_tokens = ranges.n_tokens(requests.counted)
    good = meets(requests.counted, slo)
    effective, total = float(n_tokens[good].sum()), float(n_tokens.sum())
    return number(per_second(effective, requests.span)), number(per_second(total, requests.span))


def _by_deadlines(requests: Requests, ttft_s: float | None, tbt_s: float | None) -> tuple[float | None, float | None]:
    """JITServe's tokens/s, and Aegaeon's share of tokens."""
    if ttft_s is None or tbt_s is None:
        return None, None
    counted = requests.counted
    on_time = goodput.tokens_on_time(counted, offset_s=ttft_s, seconds_per_token=tbt_s)
    return (
        number(per_second(float(on_time.sum()), requests.span)),
        number(goodput.aegaeon_attainment(counted, Slo(ttft_s=ttft_s, tbt_s=tbt_s))),
    )


def _experience(
    requests: Requests, ttft_s: float | None, tbt_s: float | None
) -> tuple[float | None, float | None, float | None, float | None]:
    """Andes's QoE in both forms, Etalon's index and rate."""
    counted, user = requests.counted, requests.user
    if user is None:
        return None, None, None, None
    first_s, next_s = ttft_s or user.seconds_per_token, tbt_s or user.seconds_per_token
    speed = user.tokens_per_s
    return (
        _mean(qoe(counted, ttft_s=first_s, tokens_per_s=speed)),
        _mean(qoe(counted, ttft_s=first_s, tokens_per_s=speed, form="readable")),
        _mean(fluidity_index(counted, prefill_s=first_s, decode_s=next_s)),
        number(fluid_token_rate_per_s(counted, prefill_s=first_s)),
    )
