"""Claims as text that a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from llmsim.figures.claim import Claim
from llmsim.reports.terminal import plain_console, say, styled

VERDICTS = {True: ("holds", "green"), False: ("does not hold", "red"), None: ("not tested", "yellow")}


def show(claims: Sequence[Claim], files: Sequence[Path], console: Console | None = None) -> None:
    """Print each claim with its verdict, evidence and limits, and the files written."""
    console = console or plain_console()
    for claim in claims:
        say(
            console, styled("\n", (f"Claim {claim.claim}", "bold"), " ", VERDICTS[claim.passed], f": {claim.statement}")
        )
        for line in claim.evidence:
            say(console, f"  {line}")
        for line in claim.limits:
            say(console, f"  limit: {line}", style="dim")
    if files:
        console.print("")
    for file in files:
        console.print(str(file), soft_wrap=True)
