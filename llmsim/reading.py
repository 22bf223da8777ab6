"""The one door for what comes in: files and texts of bounded size, depth and digits; no pipes, no devices.

Each limit is far above what any honest file has, and stands in the message of what exceeds it. Failures of the system
(`OSError`) and text that is not UTF-8 (`UnicodeDecodeError`) pass, for a reader to tell in its own words.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import stat
import tomllib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from llmsim.errors import InputError

MIB = 1 << 20
#: of a file that is held whole: a result with the times of all tokens
MOST_BYTES = 256 * MIB
#: of a scenario or a profile
MOST_SETTINGS_BYTES = 4 * MIB
#: of one line of a trace
MOST_LINE_BYTES = 64 * MIB
#: of a gzip file: what it expands to, in its own size, once that is large; honest text is packed to a tenth or so
MOST_EXPANSION, EXPANSION_COUNTS_FROM_BYTES = 200, 64 * MIB
#: tables and lists within one another
MOST_DEPTH = 100
#: of a whole number: 64 bits, signed or not
MOST_DIGITS = 20
#: requests of a run or a trace: Azure's largest trace has 27 million
MOST_REQUESTS = 50_000_000

GZIP = b"\x1f\x8b"  #: how files of gzip begin
_PIECE_BYTES = 1 << 24
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
#: a key of more parts than tables may stand within one another; the possessive parts keep this linear
_DEEP_KEY = re.compile(rf"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){{{MOST_DEPTH}}}")


def check_regular(path: Path) -> None:
    """Refuse what is no file: a pipe or a device may never end, or wait for ever. What is not there passes."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise InputError(f"{path}: is {name}, expected a file")


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a file of at most so many bytes, what a gzip file expands to included; InputError beyond that."""
    with opened(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InputError(f"{path}: more than {most // MIB} MiB of text, expected at most that")
    return data


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Read a text in UTF-8, likewise; a byte order mark is no part of it."""
    return read_bytes(path, most).decode("utf-8-sig")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for its bytes, what a gzip file expands to in their place; InputError for pipes and devices."""
    check_regular(path)
    with path.open("rb") as file:
        zipped = file.read(len(GZIP)) == GZIP
        file.seek(0)
        if not zipped:
            yield file
            return
        with gzip.open(file) as unpacked:
            yield cast(IO[bytes], _Bounded(unpacked, path, path.stat().st_size))


class _Bounded(io.RawIOBase):
    """What a gzip file expands to, as long as that is in proportion."""

    def __init__(self, file: gzip.GzipFile, path: Path, packed_bytes: int) -> None:
        self._file, self._path = file, path
        self._left = max(EXPANSION_COUNTS_FROM_BYTES, MOST_EXPANSION * packed_bytes)

    def read(self, size: int = -1) -> bytes:
        pieces = []
        while size and (piece := self._piece(_PIECE_BYTES if size < 0 else min(size, _PIECE_BYTES))):
            self._left -= len(piece)
            if self._left < 0:
                raise InputError(f"{self._path}: a gzip file that expands to more than {MOST_EXPANSION} times its size")
            pieces.append(piece)
            size -= len(piece) if size > 0 else 0
        return b"".join(pieces)

    def _piece(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except EOFError:
            raise InputError(f"{self._path}: the gzip file is truncated") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{self._path}: the gzip file is damaged ({error})") from None


def parse_json(text: str, where: str) -> Any:
    """Read JSON; InputError, opened with `where`, beyond the limits of depth and digits; else JSONDecodeError."""
    try:
        value = json.loads(text, parse_int=_whole_number)
    except RecursionError:
        raise _too_deep(where) from None
    except _TooManyDigits as error:
        raise InputError(f"{where}: {error}") from None
    check_depth(value, where)
    return value


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Read TOML; InputError, opened with `where`, beyond the limits of depth and digits; else TOMLDecodeError."""
    if _DEEP_KEY.search(text):
        raise _too_deep(where)
    try:
        value = tomllib.loads(text)
    except RecursionError:
        raise _too_deep(where) from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # of a whole number with thousands of digits, or a date that there is not
        said = f"a number of more than {MOST_DIGITS} digits" if "digits" in str(error) else str(error)
        raise InputError(f"{where}: {said}") from None
    check_depth(value, where)
    return value


class _TooManyDigits(Exception):  # noqa: N818 - reads as the condition it is
    pass


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS + 1 or len(digits.lstrip("-")) > MOST_DIGITS:
        raise _TooManyDigits(f"a whole number of {len(digits):,} digits, expected at most {MOST_DIGITS}")
    return int(digits)


def _too_deep(where: str) -> InputError:
    return InputError(f"{where}: tables or lists within one another, more than {MOST_DEPTH} deep")


def check_depth(value: Any, where: str) -> None:
    """Walk level by level, so that depth costs no stack; look at whole numbers on the way."""
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            raise _too_deep(where)
        below = []
        for one in level:
            for child in one.values() if type(one) is dict else one:
                kind = type(child)
                if kind is dict or kind is list:
                    below.append(child)
                elif kind is int and not -(10**MOST_DIGITS) < child < 10**MOST_DIGITS:
                    raise InputError(f"{where}: a whole number of more than {MOST_DIGITS} digits")
        level = below
