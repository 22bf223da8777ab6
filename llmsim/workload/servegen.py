"""Requests drawn from a population of clients, each with arrivals and lengths of its own: ServeGen.

ServeGen (Xiang et al. 2025, arXiv 2505.09999) describes every client of a model by windows of time: how many requests
a second, the family and shape of the gaps between them, and the distributions of prompt and output lengths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError
from llmsim.reading import MOST_REQUESTS
from llmsim.workload.contract import Workload
from llmsim.workload.servegen_files import Client, Distribution, read_clients
from llmsim.workload.streams import Streams
from llmsim.workload.traces import TraceWindow

Times = NDArray[np.float64]
_LEAST_DRAWN = 16  # gaps at a time


def draw_clients(
    streams: Streams,
    path: str | PathLike[str],
    *,
    rate_scale: float = 1.0,
    start_s: float = 0.0,
    duration_s: float | None = None,
    limit: int | None = None,
) -> Workload:
    """Draw the requests of all clients of a ServeGen folder or archive, in order of arrival.

    `start_s` and `duration_s` choose start_s <= arrival < start_s + duration_s on the clock of the files, `limit` the
    first so many of these; time 0 of the workload is start_s. Requests that are drawn without output, as logs have
    them, are left out, and `source` says how many. `rate_scale` multiplies every rate: windows keep their lengths and
    gaps their CV. `user` is the client's number. Every window of every client has streams of its own, named by client
    and window, so that neither other clients nor the part chosen move what is drawn in it. Raises InputError with file,
    client and line for anything wrong with the files.
    """
    window = TraceWindow(rate_scale, start_s, duration_s, limit)
    end_s, path = window.end_s, Path(path)
    clients = read_clients(path)
    _check_number(path, clients, rate_scale, start_s, end_s)
    drawn = [rows for client in clients for rows in _draw(streams, client, rate_scale, start_s, end_s)]
    if sum(len(rows[0]) for rows in drawn) == 0:
        last_s = max(client.windows[-1].end_s for client in clients)
        raise InputError(
            f"{path}: no request in [{start_s:g} s, {end_s:g} s); its {len(clients)} clients end at {last_s:g} s"
        )
    arrival_s, prompt_tokens, output_tokens, user = (np.concatenate(column) for column in zip(*drawn, strict=True))
    order = np.argsort(arrival_s, kind="stable")
    served = order[output_tokens[order] > 0]
    first = served[:limit]
    if len(first) == 0:
        raise InputError(f"{path}: none of the {len(order)} requests has any output tokens")
    left_out = len(order) - len(served)
    notes = [f"ServeGen {path.name} ({len(clients)} clients)"]
    notes += [f"{left_out} without output left out"] if left_out else []
    return Workload(
        arrival_s=arrival_s[first] - start_s,
        prompt_tokens=prompt_tokens[first],
        output_tokens=output_tokens[first],
        source=", ".join([*notes, *window.notes]),
        user=user[first],
    )


def _check_number(path: Path, clients: Sequence[Client], rate_scale: float, start_s: float, end_s: float) -> None:
    expected = rate_scale * sum(
        each.rate_per_s * (each.end_s - each.start_s)
        for client in clients
        for each in client.windows
        if each.end_s > start_s and each.start_s < end_s
    )
    if expected > MOST_REQUESTS:
        raise InputError(
            f"{path}: {expected:.3g} requests to draw, expected at most {MOST_REQUESTS:,}; "
            "workload.duration_s and rate_scale make them fewer"
        )


def _draw(
    streams: Streams, client: Client, rate_scale: float, start_s: float, end_s: float
) -> Iterator[tuple[Times, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield arrival, prompt, output and user of a client's requests in [start_s, end_s), window by window."""
    for number, window in enumerate(client.windows):
        if window.rate_per_s == 0 or window.end_s <= start_s or window.start_s >= end_s:
            continue
        arrival_s = window.start_s + renewals(
            _stream(streams.arrivals, client.number, number),
            window.end_s - window.start_s,
            rate_per_s=window.rate_per_s * rate_scale,
            family=window.family,
            shape=window.shape,
        )
        # both of a request from one row: more requests begin with the same ones
        uniform = _stream(streams.lengths, client.number, number).random((len(arrival_s), 2))
        prompt, output = client.lengths_at(window.start_s)
        chosen = (arrival_s >= start_s) & (arrival_s < min(end_s, window.end_s))
        lengths = (_quantile(each, uniform[chosen, i]) for i, each in enumerate((prompt, output)))
        yield arrival_s[chosen], *lengths, np.full(chosen.sum(), client.number)  # type: ignore[misc]


def renewals(rng: np.random.Generator, length_s: float, *, rate_per_s: float, family: str, shape: float) -> Times:
    """Draw the times in [0, length_s) of a stationary renewal process, shape (requests,).

    Its gaps are Gamma or Weibull of the given shape, which alone sets their CV, and of mean 1 / rate_per_s. The window
    opens at any moment of the process, not at a request, so the first gap is what is left of one that a moment met:
    a uniform part of a gap drawn in proportion to its length (Cox, Renewal Theory, 1962). The mean number of requests
    is then rate_per_s * length_s at every length; begun with a whole gap it would be off by (CV^2 - 1) / 2.
    """
    expected = math.ceil(rate_per_s * length_s)
    at_s = rng.random() * _met_gap(rng, family, shape) / rate_per_s
    parts = [np.array([at_s])]
    while at_s < length_s:
        following = at_s + np.cumsum(_gaps(rng, family, shape, expected + _LEAST_DRAWN)) / rate_per_s
        parts.append(following)
        at_s = float(following[-1])
    times = np.concatenate(parts)
    return times[times < length_s]


def _gaps(rng: np.random.Generator, family: str, shape: float, count: int) -> Times:
    """Gaps of mean 1."""
    if family == "Gamma":
        return rng.gamma(shape, 1.0 / shape, count)
    return rng.weibull(shape, count) / math.gamma(1.0 + 1.0 / shape)


def _met_gap(rng: np.random.Generator, family: str, shape: float) -> float:
    """A gap of mean 1, drawn with its density times its length."""
    if family == "Gamma":
        return float(rng.gamma(shape + 1.0, 1.0 / shape))
    # (gap / scale)^shape is exponential; weighted by the gap, Gamma of shape 1 + 1 / shape
    return float(rng.gamma(1.0 + 1.0 / shape) ** (1.0 / shape)) / math.gamma(1.0 + 1.0 / shape)


def _quantile(lengths: Distribution, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    return lengths.tokens[np.searchsorted(lengths.up_to, uniform, side="right")]


def _stream(purpose: np.random.Generator, client: int, window: int) -> np.random.Generator:
    """Return the generator of a client's window, a child of the purpose's that has their numbers for a name."""
    parent = purpose.bit_generator.seed_seq
    assert isinstance(parent, np.random.SeedSequence)
    name = (*parent.spawn_key, client, window)
    return np.random.default_rng(np.random.SeedSequence(parent.entropy, spawn_key=name))
