"""The numbers that figures keep of one run, as delivered and as it would be with its tokens delayed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from llmsim import delivery, experiment
from llmsim.metrics import ranges, request_latency
from llmsim.metrics.fluidity import fluidity_index
from llmsim.metrics.goodput import aegaeon_attainment, tokens_on_time
from llmsim.metrics.qoe import qoe
from llmsim.metrics.score import Score, score
from llmsim.metrics.sections.answer_quality import AnswerQuality
from llmsim.metrics.sections.fairness import Fairness
from llmsim.metrics.sections.speculation import Speculation
from llmsim.metrics.sections.together import Together
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.metrics.slo import GRACE_S
from llmsim.metrics.smooth_goodput import Anchor, Penalty, User, idle_latency_s, penalty_tokens
from llmsim.metrics.stage_slo import meets_stages
from llmsim.metrics.window import Window, per_second, resolve, run_end_s
from llmsim.record import Record, Timelines
from llmsim.request import Outcome
from llmsim.scenario import Scenario
from llmsim.slo import Slo
from llmsim.statistics import STEADY

#: readers, tokens/s: of a chat, of version 1 of the paper, and a fast one
READERS = (5.0, 20.0, 30.0)
#: tokens that a second of waiting costs, forms of f, and where waiting begins: choices of smooth goodput
ALPHAS = (1.0, 2.5, 10.0)
PENALTIES: tuple[Penalty, ...] = ("linear", "tokens", "quadratic", "clipped", "saturating")
ANCHORS: tuple[Anchor, ...] = ("arrival", "first_token")


def measure(scenario: Scenario, *, delayed: bool, end_s: float = 0.0, forms: bool = False) -> dict[str, float]:
    """Run a scenario; return its numbers.

    With `forms` also those by the rules of other papers, their names led by ``form_``.

    With `delayed` also those under output delay to the scenario's ITL bound, their names led by ``paced_``. Users
    whose requests were dropped wait until the run ends, or until `end_s` if that is later.
    """
    result = experiment.run(scenario)
    slo, window = experiment.make_slo(scenario), experiment.make_window(scenario)
    emitted = result.record.timelines()
    out = _numbers(result.score, emitted, window, max(result.record.end_s, end_s))
    out["steady"] = float(result.score.section(RunVerdict).answer == STEADY)
    out |= _of_classes(result.score) | _of_answers(result.score) | _of_speculation(result.score)
    if forms:
        out |= _forms(emitted, slo, window)
        out |= {choice.key: value for choice, value in _by_choice(emitted, window, result.record.end_s)}
    if len(result.record.transfers["request"]):
        out |= _handovers(result.record, emitted, max(result.record.end_s, end_s))
    if delayed and slo.tbt_s is not None:
        held = delivery.output_delay(emitted, slo.tbt_s)
        held_end_s = max(result.record.end_s, run_end_s(held), end_s)
        values = _numbers(score(held, slo=slo, window=window, end_s=held_end_s), held, window, held_end_s)
        out |= {f"paced_{name}": value for name, value in values.items()}
        out["paced_earlier_tokens"] = float(_earlier_tokens(emitted, held))
    return out


def _numbers(values: Mapping[str, Any], timelines: Timelines, window: Window, end_s: float) -> dict[str, float]:
    out = {"throughput": _number(values["output_tokens_per_s"]), "requests_per_s": _number(values["requests_per_s"])}
    for name in ("ttft_s", "tpot_s", "tbt_s", "queueing_s"):
        if values[name] is not None:
            out |= {f"{name}_{key}": _number(values[name][key]) for key in ("mean", "p50", "p99")}
    slo = values["slo"]
    out |= {"attainment": _number(slo["attainment"]), "goodput": _number(slo["goodput_tokens_per_s"])}
    out |= {f"attainment_{bound}": _number(share) for bound, share in slo["attainment_by_bound"].items()}
    spans = {"arrivals": resolve(window, timelines), "makespan": resolve(Window("makespan"), timelines)}
    rows = ranges.layout(timelines)
    for name, span in spans.items():
        out[f"tokens_{name}"] = per_second(float(rows.n_tokens[span.counted].sum()), span)
    ttft_s = request_latency.ttft_s(timelines)
    for speed in READERS:
        user = User(tokens_per_s=speed)
        late_s = idle_latency_s(timelines, user, end_s=end_s)
        for name, span in spans.items():
            out[f"idle_{speed:g}_{name}"] = per_second(float(np.maximum(late_s, 0.0)[span.counted].sum()), span)
        # The same lateness, counted from the first token on: which readers did the tokens after it keep waiting?
        out[f"stalled_{speed:g}"] = float(np.mean(late_s - ttft_s + user.seconds_per_token > GRACE_S))
    return out


def _forms(timelines: Timelines, slo: Slo, window: Window) -> dict[str, float]:
    """Stages (SLOs-Serve), tokens by their deadlines (JITServe, Aegaeon), QoE (Andes) and fluidity (Etalon)."""
    span = resolve(window, timelines)
    counted = ranges.select(timelines, span.counted)
    first_s, next_s = slo.ttft_s or 0.0, slo.per_token_s or 0.0
    on_time = tokens_on_time(counted, offset_s=first_s, seconds_per_token=next_s)
    return {
        "form_stages": float(meets_stages(counted, slo).mean()),
        "form_jitserve": per_second(float(on_time.sum()), span),
        "form_aegaeon": aegaeon_attainment(counted, Slo(ttft_s=first_s, tbt_s=next_s)),
        "form_qoe": float(qoe(counted, ttft_s=first_s, tokens_per_s=READERS[0]).mean()),
        "form_fluidity": float(fluidity_index(counted, prefill_s=first_s, decode_s=next_s).mean()),
    }


@dataclass(frozen=True, slots=True)
class Choice:
    """What the paper leaves open of smooth goodput: the reader's speed, alpha, the form of f, where waiting begins."""

    tokens_per_s: float = READERS[0]
    alpha: float = ALPHAS[1]
    penalty: Penalty = "linear"
    anchor: Anchor = "arrival"

    @property
    def key(self) -> str:
        """Name among the numbers of a run."""
        return f"smooth_{self.tokens_per_s:g}_{self.alpha:g}_{self.penalty}_{self.anchor}"


CHOICES = tuple(Choice(*values) for values in product(READERS, ALPHAS, PENALTIES, ANCHORS))


def _by_choice(timelines: Timelines, window: Window, end_s: float) -> Iterator[tuple[Choice, float]]:
    """Smooth goodput, tokens/s, by every choice."""
    span = resolve(window, timelines)
    rows, finished = ranges.layout(timelines), timelines.outcome == Outcome.FINISHED
    for speed, anchor in product(READERS, ANCHORS):
        idle_s = idle_latency_s(timelines, User(tokens_per_s=speed, anchor=anchor), end_s=end_s)
        for alpha, penalty in product(ALPHAS, PENALTIES):
            user = User(tokens_per_s=speed, anchor=anchor, alpha=alpha, penalty=penalty)
            benefit = rows.n_tokens - penalty_tokens(idle_s, rows.n_tokens, finished, user)
            choice = Choice(speed, alpha, penalty, anchor)
            yield choice, per_second(float(benefit[span.counted].sum()), span)


def _of_classes(values: Score) -> dict[str, float]:
    """Of a run with classes: what they have together, each by its own SLO and reader, and how service is shared out."""
    together, fairness = values.find(Together), values.find(Fairness)
    out = {} if together is None else {f"own_{name}": _number(value) for name, value in together.items()}
    if fairness is not None:
        out |= {"gap_tokens": fairness.largest_gap_tokens, "jain": _number(fairness.jain_index)}
    return out


def _of_answers(values: Score) -> dict[str, float]:
    """Of a run with several models: what answers are worth, and how many each pool gives for each request."""
    found = values.find(AnswerQuality)
    if found is None:
        return {}
    out = {"quality": found.mean, "quality_in_slo": found.within_slo, "gpu_s": found.gpu_s_per_request}
    return out | {f"answers_{pool}": share for pool, share in found.answers_of.items()}


def _of_speculation(values: Score) -> dict[str, float]:
    """Of a run in which requests speculate: tokens that a step yields of one."""
    drafts = values.find(Speculation)
    return {} if drafts is None else {"acceptance_length": _number(drafts.acceptance_length)}


def _handovers(record: Record, timelines: Timelines, end_s: float) -> dict[str, float]:
    """Of a disaggregated run: time from first token to decode, preempted requests, lateness for users of 5 tokens/s."""
    moved = record.transfers
    late_s = np.maximum(idle_latency_s(timelines, User(tokens_per_s=5.0), end_s=end_s), 0.0)
    hit = record.requests["preemptions"] > 0
    return {
        "handover_s_mean": float(np.nanmean(moved["joined_s"] - moved["offered_s"])),
        "preempted": float(hit.mean()),
        "late_s_preempted": float(late_s[hit].mean()) if hit.any() else math.nan,
        "late_s_others": float(late_s[~hit].mean()),
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _earlier_tokens(emitted: Timelines, held: Timelines) -> int:
    """How many tokens are delivered before they were emitted; all requests have finished."""
    emitted_s, held_s = emitted.tokens_s(slice(None)), held.tokens_s(slice(None))
    return int(np.sum(held_s < emitted_s[: len(held_s)]))
