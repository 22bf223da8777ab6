"""The `llmsim` command. One small module for each verb; only the verb that needs a heavy library loads it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any

import typer

from llmsim import __version__
from llmsim.cli import (
    audit,
    bench,
    compare,
    explore,
    figures,
    init,
    listing,
    output,
    plan,
    profile,
    report,
    run,
    schema,
    score,
    support,
    sweep,
    trace,
    validate,
)
from llmsim.ctrl_c import CtrlC, heard
from llmsim.errors import Interrupted, LlmsimError

app = typer.Typer(
    name="llmsim",
    help="Simulate LLM serving, and score it so that the answer can be defended.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"llmsim {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell how long each part takes; show where an error comes from.")
    ] = False,
) -> None:
    output.be_verbose(verbose)
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command("run")(run.run)
app.command("sweep")(sweep.sweep)
app.command("compare")(compare.compare)
app.command("plan")(plan.plan)
app.command("report")(report.report)
app.command("explore")(explore.explore)
app.command("score")(score.score)
app.command("figures")(figures.figures)
app.command("audit")(audit.audit)
app.command("init")(init.init)
app.command("list")(listing.show)
app.command("schema")(schema.schema)
app.command("support")(support.support)
app.command("validate")(validate.validate)
app.add_typer(profile.app, name="profile")
app.command("bench")(bench.bench)
app.add_typer(trace.app, name="trace")

BAD_INPUT = 2
INTERRUPTED = 130
OUT_OF_MEMORY = "out of memory, ask for fewer requests or instances"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 and one line for bad input, 130 for Ctrl-C."""
    with heard() as ctrl_c:
        try:
            return _main(arguments, ctrl_c)
        except SystemExit as error:
            if isinstance(error.__context__, BrokenPipeError):  # click's word for it
                return _nothing_left_to_tell()
            if ctrl_c.pressed:
                return _interrupted()
            # of code that is not ours, somewhere where none was expected
            return _fail("a policy or plug-in ended the program (sys.exit); nothing is half-written", BAD_INPUT)


@cache
def _command() -> Callable[..., Any]:
    """What Typer makes of all verbs: it takes as long as a small run, so that a process does it once."""
    return typer.main.get_command(app)


def _main(arguments: Sequence[str] | None, ctrl_c: CtrlC) -> int:
    try:
        code = _command()(args=arguments, prog_name="llmsim", standalone_mode=False)
        if sys.stdout is not None:  # a full disk, or a reader that has gone, is told here and not by Python's end
            sys.stdout.flush()
    except BrokenPipeError:
        return _nothing_left_to_tell()
    except Interrupted as error:
        return _fail(str(error), INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except Exception as error:
        return _interrupted() if ctrl_c.pressed else _told(error)
    if code == INTERRUPTED:  # newer Typer turns Ctrl-C into this code
        return _interrupted()
    return code if isinstance(code, int) else 0


def _interrupted() -> int:
    return _fail("interrupted; nothing is half-written", INTERRUPTED)


def _told(error: Exception) -> int:
    """Tell bad input in one line; what is a bug of ours is raised again."""
    if isinstance(error, LlmsimError | MemoryError | OSError):
        if output.verbose():
            traceback.print_exception(error)
        return _fail(_in_words(error), BAD_INPUT)
    if sys.stdout is not None and sys.stdout.closed:
        return _fail("a policy or plug-in closed stdout; there is nowhere to tell the answer", BAD_INPUT)
    usage = getattr(error, "format_message", None)  # click's; its home depends on Typer
    if usage is None:
        raise error
    return _fail(usage(), BAD_INPUT)


def _nothing_left_to_tell() -> int:
    """The reader of our output has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _in_words(error: LlmsimError | MemoryError | OSError) -> str:
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    if isinstance(error, OSError):  # a full disk, a file that may not be read
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    return str(error)


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
