"""What was delivered, per second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from llmsim.metrics import goodput, ranges
from llmsim.metrics.kpi import MORE, Kpi, OfRequests
from llmsim.metrics.scored import Requests
from llmsim.metrics.summary import number


@dataclass(frozen=True, slots=True, eq=False)
class Throughput(OfRequests):
    """Tokens of the requests that count; rates of what is delivered inside the window, to any request."""

    output_tokens: Annotated[int, Kpi("output tokens", "tokens", "basis")]
    output_tokens_per_s: Annotated[float | None, Kpi("throughput", "tokens/s", "rate", MORE)]
    requests_per_s: Annotated[float | None, Kpi("finished requests", "requests/s", "rate", MORE)]

    @classmethod
    def of(cls, requests: Requests) -> Self:
        """Measure."""
        return cls(
            int(ranges.n_tokens(requests.counted).sum()),
            number(goodput.delivered_tokens_per_s(requests.timelines, requests.span)),
            number(goodput.finished_requests_per_s(requests.timelines, requests.span)),
        )
