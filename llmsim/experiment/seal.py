"""The seal of what is stored: checksums, so that what was changed, cut off or mixed up is named, and never believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import llmsim
from llmsim.errors import InputError
from llmsim.reading import MOST_SETTINGS_BYTES, check_regular, parse_json, read_text

SEAL_FILE = "seal.json"
#: of the files of results: what an older one means may have changed
SCHEMA = 1
SEALED = (".json", ".parquet")  #: pictures are made of these
LETTERS = 6  #: of a folder's name that tell questions apart


def question(**values: Any) -> str:
    """Return the checksum of what was asked: the same question has the same, whatever came out."""
    return _digest(_canonical(values))


def identity(path: str | Path) -> str:
    """Return what tells a result from others: the checksum of a file, of a folder's seal, or else where it is."""
    place = Path(path)
    file = place / SEAL_FILE if place.is_dir() else place
    try:
        check_regular(file)
        with file.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()
    except (OSError, InputError):  # not a result, or none that can be read: to be told where it is opened
        return str(place.absolute())


def seal(folder: Path, of: str, names: Iterable[str] | None = None) -> None:
    """Write the seal of a folder's data, or of these files: the last thing that is written of a result."""
    files = sorted(
        names or (file.name for file in folder.iterdir() if file.suffix in SEALED and file.name != SEAL_FILE)
    )
    sums = {name: _digest((folder / name).read_bytes()) for name in files}
    values = {"schema": SCHEMA, "llmsim": llmsim.__version__, "question": of, "sha256": sums}
    (folder / SEAL_FILE).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def unsealed(file: Path) -> bytes:
    """Read a file of a sealed folder; InputError where it is not there, or not as it was sealed."""
    seal = read_seal(file.parent)
    check_regular(file)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{file}: is missing; expected a whole result of llmsim, run it again") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None
    if seal["sha256"].get(file.name) != _digest(data):
        raise InputError(f"{file}: is not as llmsim wrote it (its checksum is another); run it again")
    return data


def read_seal(folder: Path) -> dict[str, Any]:
    """Read the seal of a folder; InputError where there is none that this version understands."""
    file = folder / SEAL_FILE
    try:
        values = parse_json(read_text(file, MOST_SETTINGS_BYTES), str(file))
        known = (
            values["schema"] == SCHEMA and isinstance(values["sha256"], dict) and isinstance(values["question"], str)
        )
    except FileNotFoundError:
        raise InputError(
            f"{file}: is missing; expected a whole result of this version of llmsim, run it again"
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise InputError(f"{file}: not a seal of this version of llmsim; run it again")
    return dict(values)


def signed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add schema and checksum to values that are kept in a file of their own."""
    whole = {"schema": SCHEMA, **values}
    return {**whole, "sha256": _digest(_canonical(whole))}


def is_signed(values: Mapping[str, Any]) -> bool:
    """Whether values are as they were signed."""
    whole = {name: value for name, value in values.items() if name != "sha256"}
    return whole.get("schema") == SCHEMA and values.get("sha256") == _digest(_canonical(whole))


def folder_for(out: Path | None, default: Path | None, of: str, mark: str, *, force: bool) -> Path | None:
    """Return the folder of an answer: `out` where it is given, else `default`, with a suffix where need be; or None.

    InputError for an `out` that holds the answer to another question, with the file `mark`, unless by `force`.
    """
    if out is None:
        return None if default is None else own_folder(default, of)
    if not force:
        check_own(out, of, mark)
    return out


def own_folder(folder: Path, of: str) -> Path:
    """Return a folder, or where that holds the answer to another question, one with a suffix of this one's."""
    return folder if not holds_another(folder, of) else folder.with_name(f"{folder.name}-{of[:LETTERS]}")


def check_own(folder: Path, of: str, mark: str) -> None:
    """Refuse a folder that holds the answer to another question; InputError."""
    if (folder / mark).is_file() and holds_another(folder, of):
        raise InputError(
            f"{folder}: holds another result, or one that is not whole; "
            "give another folder, or --force (force=True in Python) to replace it"
        )


def holds_another(folder: Path, of: str) -> bool:
    """Whether a folder holds something else than the answer to this question."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    try:
        return bool(read_seal(folder)["question"] != of)
    except InputError:
        return True


def _canonical(values: Any) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
