"""The audit of a result in tables, and its findings in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmsim.metrics.audit import ABANDONED, DROPPED, PACED, UNDRAFTED, Audit, Change, Gain, Row
from llmsim.metrics.class_audit import ClassChange
from llmsim.reports.terminal import plain_console, say, styled

MANIPULATION_HEADS = {PACED: "delayed", DROPPED: "dropped", ABANDONED: "abandoned", UNDRAFTED: "plain"}
MANIPULATION_VERBS = {PACED: "delaying", DROPPED: "dropping", ABANDONED: "giving up", UNDRAFTED: "no drafts"}
METRICS_NOTE = (
    "completed: over requests that finished; all: over every request, those cut short as censored. goodput: tokens of "
    "requests within the SLO; wasted: of all others. Smooth goodput: hardened is charged for drops and counts from the "
    "arrival; uncharged is not; 1st-token counts from the first token. gameable: better, while users together are not. "
    "=: changed by no more than 1 %."
)
#: terminals of fewer columns get signs for words
WIDE_COLUMNS = 110
SIGNS_NOTE = "! gameable, + better, - worse. "
#: a gain that manipulation alone could show, as a share of what is claimed, worth a warning
LARGE_SHARE = 0.2


def show_audit(name: str, audit: Audit, console: Console | None = None) -> None:
    """Print one audit: the table, then what it means."""
    console = console or plain_console()
    short = console.width < WIDE_COLUMNS
    say(console, styled("\n", (f"Audit of {name}", "bold")))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    table.add_column("metric", no_wrap=True)
    table.add_column("as is", justify="right", no_wrap=True)
    for key in audit.users:
        table.add_column(MANIPULATION_HEADS.get(key, key), justify="right", no_wrap=True)
        if not short:
            table.add_column("", no_wrap=True)
    for row in audit.rows:
        unit = row.metric.shown_unit
        cells = [cell for key in audit.users for cell in _cells(row.after[key], unit, short)]
        table.add_row(with_unit(row.metric.name, unit), audit_number(row.as_is, unit), *cells)
    console.print(table)
    say(console, f"{SIGNS_NOTE if short else ''}{METRICS_NOTE}", style="dim")
    for line in findings(audit):
        say(console, line)


def show_gains(names: Sequence[str], gains: Sequence[Gain], console: Console | None = None) -> None:
    """Print how much of what the second result gains over the first the first could have had by manipulation."""
    console = console or plain_console()
    say(console, styled("\n", (f"What {names[1]} claims over {names[0]}", "bold")))
    if not gains:
        console.print("It is better in no metric.")
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    for head in (
        "metric that is better",
        "from",
        "to",
        *(f"by {MANIPULATION_VERBS.get(k, k)}" for k in gains[0].share),
    ):
        table.add_column(head, justify="left" if head.startswith("metric") else "right")
    for gain in gains:
        table.add_row(*gain_cells(gain))
    console.print(table)
    caption = f"by …: share of the gain that {names[0]} would show if manipulated so, 100 % at most"
    say(console, caption, style="dim")
    doubtful = [gain.words for gain in gains if max(gain.share.values()) >= LARGE_SHARE]
    if doubtful:
        say(
            console,
            f"{_list(doubtful)}: a fifth or more of the gain can be had on {names[0]} by manipulation alone, "
            "without serving any request better.",
        )
    else:
        console.print("Hardly any of these gains can be had by manipulation alone.")


def gain_cells(gain: Gain) -> tuple[str, ...]:
    """A metric, its value in the baseline and in what is claimed, and the share that each manipulation would show."""
    values = (audit_number(value, gain.unit) for value in (gain.baseline, gain.claimed))
    return (with_unit(gain.words, gain.unit), *values, *(f"{100 * share:.0f} %" for share in gain.share.values()))


def audit_heads(keys: Sequence[str]) -> list[str]:
    """Heads of the columns of manipulations."""
    return [MANIPULATION_HEADS.get(key, key) for key in keys]


def findings(audit: Audit) -> list[str]:
    """Say what the audit found, a sentence or two for each manipulation."""
    out = []
    for key, users in audit.users.items():
        if key == UNDRAFTED:
            continue
        gamed = [row for row in audit.rows if row.after[key].gameable]
        smooth = audit.rows[-1].after[key].direction
        changes = f"{users.better:,} users are better off, {users.worse:,} worse, {users.same:,} the same"
        if key == PACED:
            what = f"Delaying tokens to {1e3 * audit.pace_s:g} ms apart"
        elif key == DROPPED:
            what = "Dropping each request when it first misses its SLO"
        elif key == ABANDONED:
            what = "Giving up on requests that miss, and using the capacity that frees (simulated),"
        else:
            what = f"With {key}"
        better = f"improves {_list([_gain(row, key) for row in gamed])}" if gamed else "improves no metric"
        tail = f" Hardened smooth goodput goes {smooth}." if smooth in ("up", "down") else ""
        unmoved = " Hardened smooth goodput is unchanged." if smooth == "unchanged" else ""
        out.append(f"{what} {better}; {changes}.{tail}{unmoved}")
    gameable = {row.metric.name for row in audit.rows for key in audit.users if row.after[key].gameable}
    honest = [row.metric.name for row in audit.rows if row.metric.name not in gameable]
    if gameable:
        out.append(f"Not fooled here: {_list(honest)}.")
    return [*out, *_of_drafts(audit), *_of_classes(audit.classes)]


def _of_drafts(audit: Audit) -> list[str]:
    """Say what drafts do, against none, and where they make times per token shorter and gaps of streams longer."""
    users = audit.users.get(UNDRAFTED)
    if users is None:
        return []
    said = f"Without drafts (simulated), {users.better:,} users are better off, and {users.worse:,} worse."
    rows = {row.metric.key: row for row in audit.rows}
    tpot, gaps = rows["tpot_mean"], rows["tbt_p99"]
    if (tpot.after[UNDRAFTED].direction, gaps.after[UNDRAFTED].direction) != ("up", "down"):
        return [f"{said} Mean TPOT and ITL p99 agree about drafts here."]
    return [
        f"{said} Mean TPOT and ITL p99 disagree about drafts, which make {_change(tpot)} shorter and {_change(gaps)} "
        "longer: tokens of a step come together, and the gap after them counts once, not for each of them."
    ]


def _change(row: Row) -> str:
    """A metric without drafts, and with them."""
    plain, drafted = (audit_number(v, row.metric.shown_unit) for v in (row.after[UNDRAFTED].value, row.as_is))
    return f"{row.metric.name} (from {plain} to {drafted} {row.metric.shown_unit})"


def _of_classes(classes: Sequence[ClassChange]) -> list[str]:
    """Say which classes gain and which pay, against first come, first served."""
    if not classes:
        return []
    out = [
        f"Against first come, first served (simulated), {each.name}: {100 * each.attainment_first_come:.1f} to "
        f"{100 * each.attainment:.1f} % within the SLO, {each.users.better:,} of {each.requests:,} users better off, "
        f"{each.users.worse:,} worse, together {each.users.gain_tokens:+,.0f} tokens of benefit."
        for each in classes
    ]
    gain, pay = [each.name for each in classes if each.gains], [each.name for each in classes if each.pays]
    others = [name for name in gain if name not in pay]
    if others and pay:
        out.append(f"{_list(others)} {'is' if len(others) == 1 else 'are'} served better, at the cost of {_list(pay)}.")
    elif pay and gain:
        out.append(f"More requests of {_list(gain)} are within the SLO, at the cost of the users of the others.")
    elif pay:
        out.append(f"No class is served better, and users of {_list(pay)} have less.")
    return out


def _gain(row: Row, key: str) -> str:
    unit = f" {row.metric.shown_unit}" if row.metric.shown_unit else ""
    before, after = (audit_number(value, row.metric.shown_unit) for value in (row.as_is, row.after[key].value))
    return f"{row.metric.name} from {before} to {after}{unit}"


def with_unit(words: str, unit: str) -> str:
    """A metric with its unit, abbreviated."""
    return f"{words}, {unit.replace('tokens', 'tok')}" if unit else words


def _cells(change: Change, unit: str, short: bool) -> tuple[str | Text, ...]:
    """The value, and in a wide table the verdict in words beside it."""
    if change.direction == "unchanged":
        return ("=",) if short else ("=", "unchanged")
    arrow = {"up": "▲", "down": "▼"}.get(change.direction, "")
    if short:
        sign = ("!", "red") if change.gameable else ("+" if change.improves else "-")
        return (styled(f"{audit_number(change.value, unit)} {arrow}", sign if arrow else ""),)
    verdict = styled(("gameable", "red")) if change.gameable else ("better" if change.improves else "worse")
    return f"{audit_number(change.value, unit)} {arrow}", verdict if arrow else ""


def audit_number(value: float | None, unit: str) -> str:
    """A metric's value: shares, which have no unit, with four decimals, the rest with three digits."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.4f}" if not unit and 0.1 <= abs(value) <= 1 else f"{value:.3g}"


def _list(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
