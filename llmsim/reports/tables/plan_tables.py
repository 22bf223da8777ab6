"""A plan as tables that a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmsim.reports.terminal import plain_console, say, styled
from llmsim.studies.plan import AnsweredPlan
from llmsim.studies.plan.by_phase import Phase
from llmsim.studies.plan.evaluate import Evaluation
from llmsim.studies.plan.loads import RATE, USERS
from llmsim.studies.plan.measured_runs import NEARLY_FULL
from llmsim.studies.plan.plan_answers import Answer
from llmsim.studies.plan.plan_sentences import in_words
from llmsim.studies.plan.tornado import Tornado
from llmsim.studies.sensitivity import OFTEN

LOAD_HEADS = {RATE: "rate/s", USERS: "users"}


def show_plan(planned: AnsweredPlan, folder: Path | None, console: Console | None = None) -> None:
    """Print the answer for every candidate, what it costs and what binds it, and what was looked at."""
    console = console or plain_console()
    console.print(styled("\n", (planned.question.scenario.name, "bold")))
    if planned.best is not None and len(planned.answers) > 1:
        by = "hour" if planned.question.table.find == "instances" else "token"
        say(console, f"cheapest by the {by}: {_name(planned.best)}")
    if planned.question.about:
        say(console, f"{planned.question.about}: {' and '.join(map(str, planned.question.targets))}")
    if planned.question.load.whole or planned.question.table.find == "load":
        say(console, f"load: {planned.question.load.stated}", style="dim")
    for words in (*planned.question.left_out, *planned.pruned):
        say(console, f"left out: {words}")
    for answer in planned.answers:
        say(console, styled("\n", (_name(answer), "bold")))
        if answer.candidate.engine is not None:
            say(console, f"engine {answer.candidate.engine}", style="dim")
        say(console, f"step times {answer.candidate.step_times}", style="dim")
        refused = "refused: " if answer.carries is None else ""
        say(console, f"{refused}{in_words(answer, planned.question.targets)}")
        if answer is planned.best and planned.certainty is not None:
            say(console, str(planned.certainty))
        if answer.carries is not None and (full := answer.carries.mean(NEARLY_FULL) or 0.0) >= OFTEN:
            say(
                console,
                f"seats are nearly full {100 * full:.0f} % of the time: there a small error of the step times counts",
            )
        if answer.binding is not None and answer.bound is not None:
            say(console, f"{_of_which(answer, answer.bound)} bound by {answer.binding}")
        console.print(_table(answer))
    _show_changing(console, planned)
    if planned.tornado is not None:
        _show_tornado(console, planned, planned.tornado)
    say(
        console,
        "cost by list prices of hardware_profiles or plan.price_usd_per_hour, for output tokens; user tok/s: the "
        "median user's speed after the first token; P: probability that the mean over runs keeps every target; runs "
        "that are overloaded or too short meet none",
        style="dim",
    )
    if folder is not None:
        console.print(f"tables and picture: {folder}", soft_wrap=True)


def _show_changing(console: Console, planned: AnsweredPlan) -> None:
    """Show what instances that come and go cost, by the scenario's rule, and by the rate of each phase."""
    if (scaled := planned.autoscaled) is not None:
        one = scaled.evaluations[0]
        probability = "" if one.probability is None else f", P {one.probability:.3f}"
        say(
            console,
            styled(
                ("\ninstances by the rule of autoscaling", "bold"),
                f": {one.answer}{probability}, {scaled.usd_per_hour(one):,.2f} USD/h in the mean; {one.reason}",
            ),
        )
    if planned.phases:
        needed = [answer.carries.instances if answer.carries else None for _, answer in planned.phases]
        known = [count for count in needed if count is not None]
        mean = f"; {sum(known) / len(known):.2f} in the mean" if len(known) == len(needed) else ""
        shown = " ".join("?" if count is None else str(count) for count in needed)
        rates = " ".join(f"{rate:g}" for rate, _ in planned.phases)
        say(console, styled(("\nfewest instances by phase", "bold"), f": {shown}{mean}; at requests/s: {rates}"))
    for whose, days in (("the best answer", planned.days), ("instances that come and go", planned.autoscaled_days)):
        if days:
            say(console, styled(("\nby phase", "bold"), f": what users of {whose} see, over days and seeds"))
            console.print(_phase_table(days))


def _phase_table(days: Sequence[Phase]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    for head in PHASE_HEADS:
        table.add_column(head, justify="right", no_wrap=True)
    for row in phase_rows(days):
        table.add_row(*row)
    return table


#: of `phase_rows`
PHASE_HEADS = ("phase, s", "rate/s", "TTFT\np99, ms", "95 %\ninterval", "samples", "SLO, %", "95 %\ninterval")


def phase_rows(days: Sequence[Phase]) -> Iterator[tuple[str, ...]]:
    """Each phase in words: when, how much comes, and what users see with which intervals."""
    for phase in days:
        ttft = None if phase.ttft_p99_s is None else phase.ttft_p99_s.times(1000)
        share = None if phase.attainment is None else phase.attainment.times(100)
        spans = ["–" if one is None or not one.bounded else f"{one.low:.3g} – {one.high:.3g}" for one in (ttft, share)]
        values = ["–" if one is None else f"{one.estimate:.4g}" for one in (ttft, share)]
        count = "–" if ttft is None else str(ttft.n)
        when = f"{phase.start_s:g} – {phase.end_s:g}"
        yield when, f"{phase.rate_per_s:g}", values[0], spans[0], count, values[1], spans[1]


def _show_tornado(console: Console, planned: AnsweredPlan, tornado: Tornado) -> None:
    """Show which assumption moves the answer, the one that moves it most first."""
    assert planned.best is not None
    load, best = planned.best.candidate.load, planned.best
    assert best.carries is not None
    said = f"{best.carries.instances} x {best.candidate.hardware} carry {load.text(tornado.amount)} at most"
    say(
        console,
        styled(("\nwhat moves the answer", "bold"), f": {said}, {tornado.usd_per_hour:,.2f} USD/h for what is asked"),
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    for head in ("assumption", "low", "high", f"largest {LOAD_HEADS[load.key]}", "USD/h"):
        table.add_column(head, justify="right" if head not in ("assumption",) else "left", no_wrap=True)
    for bar in tornado.bars:
        ends = (bar.low, bar.high)
        amounts = " – ".join("none" if end.amount is None else f"{end.amount:.4g}" for end in ends)
        costs = " – ".join("none" if end.usd_per_hour is None else f"{end.usd_per_hour:,.2f}" for end in ends)
        table.add_row(bar.assumption, bar.low.said, bar.high.said, amounts, costs)
    console.print(table)
    for name, why in tornado.not_varied.items():
        say(console, f"not varied: {name} ({why})", style="dim")


def _name(answer: Answer) -> str:
    return f"{answer.candidate.hardware}, {answer.candidate.scheduler}"


def _of_which(answer: Answer, evaluation: Evaluation) -> str:
    """The cluster and load at which something binds."""
    verb = "is" if evaluation.instances == 1 else "are"
    return f"{evaluation.instances} at {answer.candidate.load.text(evaluation.amount)} {verb}"


def _table(answer: Answer) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    for head in (
        "inst.",
        LOAD_HEADS[answer.candidate.load.key],
        "",
        "P",
        "runs",
        "requests",
        "USD/h",
        "USD/\nMtok",
        "user\ntok/s",
    ):
        table.add_column(head, justify="left" if not head else "right", no_wrap=True)
    for evaluation in answer.evaluations:
        table.add_row(*_cells(answer, evaluation))
    return table


def _cells(answer: Answer, evaluation: Evaluation) -> tuple[str | Text, ...]:
    probability = evaluation.probability
    chosen = styled(("carries", "bold")) if evaluation is answer.carries else evaluation.outcome
    return (
        str(evaluation.instances),
        f"{evaluation.amount:g}",
        chosen,
        "–" if probability is None else f"{probability:.3f}",
        str(len(evaluation.runs)),
        f"{evaluation.runs[0].requests:,}",
        f"{answer.usd_per_hour(evaluation):,.2f}",
        _plain(answer.usd_per_million_tokens(evaluation)),
        _plain(answer.user_tokens_per_s(evaluation)),
    )


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
