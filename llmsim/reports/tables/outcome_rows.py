"""How requests ended, what was served and at what cost, and by which choices: names and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from llmsim.metrics.catalogue import summaries
from llmsim.metrics.score import Score
from llmsim.metrics.sections.answer_quality import AnswerQuality
from llmsim.metrics.sections.attainment import Attainment
from llmsim.metrics.sections.attempt_counts import AttemptCounts
from llmsim.metrics.sections.choices import Choices, ChosenWindow
from llmsim.metrics.sections.conversation_counts import ConversationCounts
from llmsim.metrics.sections.energy import MEASURED, Energy
from llmsim.metrics.sections.outcomes import Outcomes
from llmsim.metrics.sections.paid_instances import PaidInstances
from llmsim.metrics.sections.prediction import Prediction
from llmsim.metrics.sections.prefix_hits import PrefixHits
from llmsim.metrics.sections.reader import Reading
from llmsim.metrics.sections.reasons import Reasons
from llmsim.metrics.sections.speculation import Speculation
from llmsim.metrics.sections.stages import Stages
from llmsim.metrics.sections.throughput import Throughput
from llmsim.metrics.sections.verdict import RunVerdict
from llmsim.metrics.sections.wasted import Wasted
from llmsim.reports.format import number_text, share_text
from llmsim.slo import bound_name
from llmsim.statistics import STEADY

Row = tuple[str, str]
#: what a run that is not steady shows of these depends on its length: where a queue grows, later requests fare worse
DEPENDING, DEPENDS = ("SLO attainment", "goodput", "smooth goodput"), "of this run's length"
#: in which instances that come and go are paid
PAID_STATES = ("starting", "ready", "draining")


def outcome_rows(score: Score) -> list[Row]:
    """Say how requests ended and what was served, and by which choices."""
    served = score.section(Throughput)
    return [
        ("requests", _outcomes(score.section(Outcomes))),
        *_reasons(score.find(Reasons)),
        *_of_users(score),
        ("throughput", _rate(served.output_tokens_per_s, served.requests_per_s)),
        *_energy(score.find(Energy)),
        *_speculation(score.find(Speculation)),
        *_quality(score.find(AnswerQuality)),
        *_marked([*_slo(score), *_reader(score)], score.find(RunVerdict)),
        *_window(score.section(Choices)),
        *_further(score),
    ]


def _energy(found: Energy | None) -> Iterator[Row]:
    if found is not None:
        each = (
            "" if found.j_per_output_token is None else f", {number_text(found.j_per_output_token)} J an output token"
        )
        cost = "" if found.usd is None else f", {number_text(found.usd)} USD"
        yield "energy", f"{number_text(found.kwh)} kWh{cost}{each}, {number_text(found.mean_w_per_gpu)} W a GPU"
        if found.basis != MEASURED:
            yield "  its power", found.basis


def _speculation(found: Speculation | None) -> Iterator[Row]:
    if found is not None and found.acceptance_length is not None:
        vain = (
            f", {share_text(found.wasted_tokens / found.drafted_tokens)} of drafts in vain"
            if found.drafted_tokens
            else ""
        )
        yield "speculation", f"{number_text(found.acceptance_length)} tokens a step of each request{vain}; whole run"


def _quality(found: AnswerQuality | None) -> Iterator[Row]:
    if found is not None:
        again = f", {number_text(found.passed_on)} passed on" if found.passed_on else ""
        answers = ", ".join(f"{pool} {number_text(share)}" for pool, share in found.answers_of.items())
        yield "quality", f"{found.mean:.3f}, {found.within_slo:.3f} within the SLO; whole run"
        yield "  answers", f"{answers} a request{again}"
        busy, paid = number_text(found.gpu_s_per_request), number_text(found.paid_gpu_s_per_request)
        yield "  its cost", f"{busy} GPU s a request in steps, {paid} paid"


def _outcomes(requests: Outcomes) -> str:
    counts = {name: count for name, count in requests.to_dict().items() if name != "total"}
    ends = ", ".join(f"{number_text(count)} {name}" for name, count in counts.items() if count)
    return f"{number_text(requests.total)}: {ends}"


def _reasons(found: Reasons | None) -> Iterator[Row]:
    for one in () if found is None else found.reasons:
        yield "", f"{number_text(one.requests)} because {one.reason}"


def _of_users(score: Score) -> Iterator[Row]:
    """How conversations and attempts went, and what was wasted."""
    if talks := score.find(ConversationCounts):
        ways = {"complete": talks.complete, "broken": talks.broken, "unfinished": talks.unfinished}
        ends = ", ".join(f"{number_text(count)} {way}" for way, count in ways.items() if count)
        never = f"; {number_text(talks.turns_never_sent)} turns never sent" if talks.turns_never_sent else ""
        yield "conversations", f"{number_text(talks.total)}: {ends}{never}; whole run"
    if made := score.find(AttemptCounts):
        again, well = number_text(made.requests_tried_again), number_text(made.of_these_finished)
        each = f"{number_text(made.per_request)} a request"
        yield (
            "attempts",
            f"{number_text(made.total)}, {each}; {again} requests tried again, {well} finished; whole run",
        )
    if (wasted := score.find(Wasted)) and wasted.gpu_s:
        share = share_text(wasted.gpu_s / wasted.busy_gpu_s)
        yield "wasted", f"{number_text(wasted.gpu_s)} GPU s, {share} of the time in steps of the whole run"


def _marked(rows: Sequence[Row], verdict: RunVerdict | None) -> Iterator[Row]:
    """Say what depends on how long one looks, where a run is not steady."""
    doubtful = verdict is not None and verdict.answer != STEADY
    for name, words in rows:
        yield name, f"{words}; {DEPENDS}" if doubtful and name in DEPENDING else words


def _slo(score: Score) -> Iterator[Row]:
    slo, bounds = score.find(Attainment), score.section(Choices).slo
    if slo is not None and bounds is not None:
        yield "SLO attainment", f"{share_text(slo.attainment)} of all requests: {bounds_text(bounds)}"
        yield "goodput", _rate(slo.goodput_tokens_per_s, slo.goodput_requests_per_s)


def _reader(score: Score) -> Iterator[Row]:
    user = score.section(Choices).user
    if user is None:
        return
    offset = f" + {user['offset_s']:g} s" if user["offset_s"] else ""
    reader = f"{user['tokens_per_s']:g} tokens/s from {user['anchor']}{offset}, alpha {user['alpha']:g}"
    yield "smooth goodput", f"{number_text(score.section(Reading).smooth_goodput_tokens_per_s)} tokens/s"
    yield "  its reader", f"{reader}, {user['penalty']}"


def _window(choices: Choices) -> Iterator[Row]:
    window = choices.window
    yield "window", _window_text(window)
    if window.kind == "arrivals":
        yield "", "goodputs: what arrives in it; throughput: what leaves in it"
    if choices.measured_from == "sent":
        yield "latencies", "from the sending of a request, not its arrival at the client"


def _window_text(window: ChosenWindow) -> str:
    """Over what time rates divide, and why it is not what was asked for."""
    if window.duration_s is None:
        return f"{window.kind} of a length that is not known: no rates"
    span = f"{window.kind}, {number_text(window.start_s)} to {number_text(window.end_s)} s"
    return span if window.kind == window.asked else f"{span}, since arrivals are a burst"


def _further(score: Score) -> Iterator[Row]:
    if told := score.find(Prediction):
        yield "output lengths", prediction_text(told)
    if stages := score.find(Stages):
        yield "stages", _stages(stages)
        yield "", f"{number_text(stages.joined)} of {number_text(stages.handed_over)} handovers decoded there"
    if paid := score.find(PaidInstances):
        yield from _paid(paid)
    if cache := score.find(PrefixHits):
        yield "prefix cache", f"{share_text(cache.hit_ratio)} of prompt tokens found"


def bounds_text(slo: Mapping[str, float | None]) -> str:
    """The bounds of an SLO."""
    bounds = ((bound_name(name), bound) for name, bound in slo.items())
    return ", ".join(f"{name} ≤ {bound:g} s" for name, bound in bounds if bound is not None)


def prediction_text(told: Prediction) -> str:
    """Say what policies were told of output lengths; that it was the truth, where it was."""
    if told.oracle:
        return "ORACLE: policies see the true ones"
    off = f"off by {number_text(told.mean_absolute_error_tokens)} tokens in the mean"
    how = f"log-normal errors, sigma {told.sigma:g}" if told.sigma else "never the wrong one"
    buckets = "" if told.edges_tokens is None else f"{len(told.edges_tokens) + 1} buckets, "
    return f"predicted ({buckets}{how}), {off}"


def _stages(stages: Stages) -> str:
    """Mean of each stage, in order."""
    own = [kpi for kpi in summaries() if kpi.key.startswith(f"{Stages.key}.")]
    return ", ".join(f"{kpi.name} {number_text(stages[kpi.key.partition('.')[2]].mean)} s" for kpi in own)


def _paid(paid: PaidInstances) -> Iterator[Row]:
    changes = f"{paid.started} started, {paid.told_to_go} told to go"
    shares = ", ".join(f"{state} {share_text(paid[f'{state}_s'] / paid.instance_s)}" for state in PAID_STATES)
    tokens = number_text(paid.usd_per_million_output_tokens)
    yield "instances", f"mean {number_text(paid.mean_instances)}, peak {paid.peak_instances}; {changes}"
    yield "instance-seconds", f"{number_text(paid.instance_s)}: {shares}"
    yield "cost", f"{paid.usd:,.2f} USD, {tokens} per million output tokens"
    yield "", f"all instances all the time: {paid.usd_with_max_instances:,.2f} USD"


def _rate(tokens_per_s: float | None, requests_per_s: float | None) -> str:
    return f"{number_text(tokens_per_s)} tokens/s, {number_text(requests_per_s)} requests/s"
