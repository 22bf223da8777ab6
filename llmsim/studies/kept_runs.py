"""Runs that a study keeps in a folder as they are made, so that it goes on from them whenever it was stopped.

Each is a signed file of JSON, with arrays in a file beside it where a study needs them, under a key that says all that
its numbers depend on. A file is written beside its place and renamed: it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import InputError, Interrupted
from llmsim.experiment.holding import held
from llmsim.experiment.seal import is_signed, signed
from llmsim.reading import parse_json, read_bytes, read_text
from llmsim.writing import replaced

Arrays = Mapping[str, NDArray[Any]]
ARRAYS = "arrays_sha256"  #: in the JSON of a run that has some


class Damaged(Exception):  # noqa: N818 - reads as the condition it is
    """A kept run is not as it was written: as good as absent, but worth a word."""


class KeptRuns:
    """Runs in a folder, by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file_of(self, key: str) -> Path:
        """Where a run's file is, or would be."""
        return self.folder / f"{key}.json"

    def __len__(self) -> int:
        return len(list(self.folder.glob("*.json")))

    def find(self, key: str) -> dict[str, Any] | None:
        """Return what is kept of a run; None where nothing is. Raises `Damaged`."""
        file = self.file_of(key)
        try:
            kept = parse_json(read_text(file), str(file))
            if kept["key"] == key and is_signed(kept):
                return dict(kept)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, InputError):
            pass
        raise Damaged(file.name)

    def arrays(self, key: str, kept: Mapping[str, Any]) -> Arrays:
        """Return the arrays beside what is kept of a run. Raises `Damaged`."""
        file = self._arrays_of(key)
        try:
            data = read_bytes(file)
            if hashlib.sha256(data).hexdigest() == kept[ARRAYS]:
                return dict(np.load(io.BytesIO(data), allow_pickle=False))
        except (OSError, ValueError, KeyError, InputError, zipfile.BadZipFile):
            pass
        raise Damaged(file.name)

    def keep(self, key: str, values: Mapping[str, Any], arrays: Arrays | None = None) -> None:
        """Keep a run. InputError if the disk is full or the like; then nothing of it is there."""
        whole = {"key": key, **values}
        if arrays is not None:
            data = io.BytesIO()
            np.savez(data, **cast(dict[str, Any], arrays))
            whole[ARRAYS] = hashlib.sha256(data.getvalue()).hexdigest()
            with replaced(self._arrays_of(key)) as scratch:
                scratch.write_bytes(data.getvalue())
        with replaced(self.file_of(key)) as scratch:
            scratch.write_text(json.dumps(signed(whole), allow_nan=False) + "\n", encoding="utf-8")

    def _arrays_of(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def clear(self) -> None:
        """Take away what lies on the disk, scratch files of a study that was killed as well."""
        for pattern in ("*.json", "*.npz", ".*.part"):
            for file in self.folder.glob(pattern):
                file.unlink(missing_ok=True)


@contextmanager
def going_on(folder: Path | None) -> Iterator[KeptRuns | None]:
    """Keep the runs of a study beside the folder of its result, until that is whole; nowhere without a folder.

    What ends it early leaves them, and an interruption says so; where there are none, nothing stays. InputError where
    another process is at the same study.
    """
    if folder is None:
        yield None
        return
    kept = KeptRuns(folder.with_name(f".{folder.name}.runs"))
    made = [each for each in folder.parents if not each.exists()]
    with _alone(kept.folder, f"{folder}: another process is making it; wait for that, or give another folder"):
        try:
            yield kept
            kept.clear()
        except KeyboardInterrupt:
            if len(kept):
                raise Interrupted(
                    f"interrupted; {len(kept)} runs are kept in {kept.folder}, the same command goes on from there"
                ) from None
            raise
        finally:
            if not len(kept):
                kept.clear()
                for each in (kept.folder, *made):
                    with suppress(OSError):  # something lies there
                        each.rmdir()


@contextmanager
def _alone(folder: Path, otherwise: str) -> Iterator[None]:
    """Make a folder and hold it for this process; InputError with these words where another holds it."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            mine = stack.enter_context(held(folder))
        except OSError as error:
            raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
        if not mine:
            raise InputError(otherwise)
        yield
