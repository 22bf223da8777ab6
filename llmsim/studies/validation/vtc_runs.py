"""Measured runs of fair queues (VTC, arXiv 2401.00588; A10G, Llama-2-7B on S-LoRA), and service in a run.

Files are those of the authors' artifact, one row a request: client, arrival_s, prompt_tokens, output_tokens, ttft_s,
e2e_s; -1 where a request was refused.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from llmsim.errors import InputError
from llmsim.latency.fitted import Fitted
from llmsim.metrics.service import Service, largest_gap_tokens, spans_covered
from llmsim.record import Floats, Ints

COLUMNS = ("client", "arrival_s", "prompt_tokens", "output_tokens", "ttft_s", "e2e_s")
OUTPUT_WEIGHT = 2.0


@dataclass(frozen=True, eq=False)
class TenantsRun:
    """N requests of several tenants that were served, in order of arrival, and when."""

    name: str
    client: Ints
    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    ttft_s: Floats
    e2e_s: Floats
    refused: int = 0  #: beside these

    @property
    def end_s(self) -> float:
        """When the last one ended, from the start of arrivals."""
        return float((self.arrival_s + self.e2e_s).max())

    def served(self, ttft_s: Floats, e2e_s: Floats) -> TenantsRun:
        """Return the same requests, with other latencies."""
        return replace(self, ttft_s=ttft_s, e2e_s=e2e_s)

    def largest_gap_tokens(self, weights: Sequence[float] = ()) -> float:
        """Largest difference of two tenants' service per weight while both wait, over all intervals and pairs.

        A prompt counts with the first token, output tokens count evenly from the first to the last, in any run: what
        clients see is all that is known of a measured one.
        """
        tenants = np.unique(self.client)
        each = [self._service(tenant, weights[i] if weights else 1.0) for i, tenant in enumerate(tenants)]
        return max(largest_gap_tokens(one, two) for one, two in combinations(each, 2))

    def _service(self, tenant: int, weight: float) -> Service:
        mine = np.flatnonzero(self.client == tenant)
        first_s, last_s = (self.arrival_s[mine] + waits[mine] for waits in (self.ttft_s, self.e2e_s))
        tokens = zip(first_s, last_s, self.output_tokens[mine], strict=True)
        times_s = np.concatenate([first_s, *(np.linspace(a, b, int(n)) for a, b, n in tokens)])
        amounts = np.concatenate([self.prompt_tokens[mine], np.full(len(times_s) - len(mine), OUTPUT_WEIGHT)])
        order = np.argsort(times_s, kind="stable")
        waits_s = spans_covered(self.arrival_s[mine], first_s, 1)
        return Service(times_s[order], np.cumsum(amounts[order]) / weight, waits_s)


def read_run(data_dir: Path, name: str) -> TenantsRun:
    """Read a run by the name of its file; InputError where it is missing or is another file."""
    path = data_dir / "groundtruth" / "vtc" / f"{name}.csv.gz"
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    if not rows or set(COLUMNS) - rows[0].keys():
        raise InputError(f"{path}: expected the columns {', '.join(COLUMNS)}")
    table = {key: np.array([float(row[key]) for row in rows]) for key in COLUMNS}
    order = np.argsort(table["arrival_s"], kind="stable")
    was_served = order[table["ttft_s"][order] > 0]
    client, arrival_s, prompt, output, ttft_s, e2e_s = (table[key][was_served] for key in COLUMNS)
    whole = [column.astype(np.int64) for column in (client, prompt, output)]
    return TenantsRun(name, whole[0], arrival_s, whole[1], whole[2], ttft_s, e2e_s, refused=len(rows) - len(was_served))


SAME_STEP_S = 0.05  #: first tokens no further apart than this are of one prefill step
GRID_S = 0.25
LEAST_TOKENS = 64  #: outputs shorter than this say little of a step


def fit_steps(run: TenantsRun) -> tuple[Fitted, float]:
    """Fit step times to how long the requests of a run took from first to last token; with the RMS of what is left, s.

    That time is so many decode steps, each of a constant, so much for each sequence beside it and each token of their
    contexts, and the prefill steps in between, of a constant and so much for each token: five numbers, least squares.
    """
    first_s, last_s = run.arrival_s + run.ttft_s, run.arrival_s + run.e2e_s
    prefill_s, tokens = _prefills(first_s, run.prompt_tokens)
    grid_s = np.arange(0.0, last_s.max() + 1, GRID_S)
    running, context = np.zeros((2, len(grid_s)))
    for a_s, b_s, prompt, output in zip(first_s, last_s, run.prompt_tokens, run.output_tokens, strict=True):
        part = slice(*np.searchsorted(grid_s, [a_s, b_s]))
        running[part] += 1
        context[part] += prompt + output * (grid_s[part] - a_s) / max(b_s - a_s, GRID_S)
    long = np.flatnonzero(run.output_tokens >= LEAST_TOKENS)
    rows = []
    for i in long:
        part = slice(*np.searchsorted(grid_s, [first_s[i], last_s[i]]))
        steps = run.output_tokens[i] - 1
        between = (prefill_s > first_s[i] + SAME_STEP_S) & (prefill_s < last_s[i] - SAME_STEP_S / 2)
        beside = steps * running[part].mean(), steps * context[part].mean()
        rows.append([steps, *beside, between.sum(), tokens[between].sum()])
    matrix, taken_s = np.array(rows), (last_s - first_s)[long]
    found = np.linalg.lstsq(matrix, taken_s, rcond=None)[0]
    step_s, sequence_s, context_s, prompt_s, token_s = (float(value) for value in found)
    decode = (step_s, context_s, sequence_s)
    rms_s = float(np.sqrt(np.mean((taken_s - matrix @ found) ** 2)))
    return Fitted((prompt_s, token_s, 0.0), decode, decode, large_batch=1), rms_s


def _prefills(first_s: Floats, prompt_tokens: Ints) -> tuple[Floats, Floats]:
    """When prefill steps ended, and of how many tokens each was."""
    order = np.argsort(first_s, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(first_s[order]) > SAME_STEP_S) + 1)
    return np.array([first_s[g].min() for g in groups]), np.array([float(prompt_tokens[g].sum()) for g in groups])
