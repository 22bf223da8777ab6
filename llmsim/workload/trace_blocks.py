"""The bytes of a trace file, plain or gzipped, in blocks of whole lines: bounded memory, and no more than is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llmsim.errors import InputError
from llmsim.reading import MIB, MOST_LINE_BYTES, opened

_BOM = b"\xef\xbb\xbf"
FIRST_BYTES, MOST_BYTES = 1 << 16, 1 << 24


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file, ended by newlines alone."""

    data: bytes
    first_line: int  #: number of its first line in the file
    places: tuple[str, ...] = ()  #: where each line comes from, if not from the line of that number

    def place(self, number: int) -> str:
        """Where in the file a line of this number comes from."""
        return self.places[number - self.first_line] if self.places else f"line {number}"


def blocks(path: Path, first_bytes: int = MOST_BYTES) -> Iterator[Block]:
    """Yield the lines of a file in blocks, of `first_bytes` at first, then of more; InputError for what is not text."""
    line = 1
    for data in _whole_lines(path, first_bytes):
        _check_text(path, data, line)
        yield Block(data, line)
        line += data.count(b"\n")


def _whole_lines(path: Path, size: int) -> Iterator[bytes]:
    rest, begun = b"", False
    for piece in _pieces(path, size):
        text = rest + (piece if begun else piece.removeprefix(_BOM))
        begun = True
        held = b"\r" if text.endswith(b"\r") else b""  # its newline may come with the next piece
        text = text.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = text.rfind(b"\n") + 1
        rest = text[cut:] + held
        if len(rest) > MOST_LINE_BYTES:
            raise InputError(f"{path}: a line of more than {MOST_LINE_BYTES // MIB} MiB, expected CSV or JSON lines")
        if cut:
            yield text[:cut]
    if rest:
        yield rest.replace(b"\r", b"\n")


def _pieces(path: Path, size: int) -> Iterator[bytes]:
    try:
        with opened(path) as file:
            while piece := file.read(size):
                yield piece
                size = min(4 * size, MOST_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path}: no such trace file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, expected a trace file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _check_text(path: Path, data: bytes, first_line: int) -> None:
    at = data.find(b"\0")
    if at < 0:
        if data.isascii():
            return
        try:
            data.decode("utf-8")
            return
        except UnicodeDecodeError as error:
            at = error.start
    line = first_line + data.count(b"\n", 0, at)
    raise InputError(f"{path}, line {line}: not text (byte {data[at]:#04x}); expected CSV or JSON lines in UTF-8")
