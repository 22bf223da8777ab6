"""Files that take their places in one move: whole or not at all, and never in the place of something else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmsim.errors import InputError


def check_place(file: Path, begins: bytes | None = None, *, force: bool = False) -> None:
    """Refuse a place where a file must not go: no folder, a device, or a file that is there; InputError.

    With `begins` files of this kind are replaced, which are drawn or written anew at any time; by `force` any file is.
    """
    if not file.parent.is_dir() or file.is_dir():
        raise InputError(f"{file}: expected a file in a folder that exists")
    if not file.exists():
        return
    if not file.is_file():
        raise InputError(f"{file}: is no regular file")
    if force or not (found := _beginning(file)):
        return
    if begins is None:
        raise InputError(f"{file}: is there already; give another name, or --force to replace it")
    if not found.startswith(begins):
        raise InputError(f"{file}: holds something else than what would be written; give another name")


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") as data:
            return data.read(64)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None


@contextmanager
def replaced(file: Path) -> Iterator[Path]:
    """Give a scratch file that takes `file`'s place in one move, once it is on the disk; it vanishes on errors."""
    scratch = file.with_name(f".{file.name}.part")
    try:
        yield scratch
        with scratch.open("rb+") as written:
            os.fsync(written.fileno())
        scratch.replace(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror or error}") from None
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def replacing(file: Path, begins: bytes | None = None, *, force: bool = False) -> Iterator[Path]:
    """`replaced`, of a place that a user named, checked before anything is done for it."""
    check_place(file, begins, force=force)
    with replaced(file) as scratch:
        yield scratch
