"""`python -m llmsim`, and the command `llmsim`: Ctrl-C is heard before anything else is imported."""

from __future__ import annotations

import io
import signal
import sys

from llmsim.ctrl_c import heard

INTERRUPTED = 130


def main() -> int:
    """Run the command line and return its exit code; one line for Ctrl-C while it is loaded, or as it ends."""
    try:
        with heard() as ctrl_c:
            _print_anything()
            try:
                from llmsim.cli import main as command

                code = command()
            except Exception:
                if not ctrl_c.pressed:
                    raise
                raise KeyboardInterrupt from None
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is done: Python's own end is not worth a traceback
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        code = INTERRUPTED
    exec("")  # if Ctrl-C came within an exec, handled or not, Python ends itself by a signal, unless another follows
    return code


def _print_anything() -> None:
    """Let a character that a terminal or a pipe does not know be written as its number, in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
