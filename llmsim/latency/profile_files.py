"""Profiles as files: records that know all their keys, from TOML or JSON, with one clear line for what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmsim.errors import InputError, nearest
from llmsim.reading import MOST_SETTINGS_BYTES, parse_json, parse_toml, read_text

Count = Annotated[int, Field(gt=0)]
CountOrNone = Annotated[int, Field(ge=0)]
Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Record = TypeVar("Record", bound=BaseModel)


class Profile(BaseModel):
    """A frozen record from a file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Provenance(Profile):
    """Where the numbers of a profile come from."""

    source: Annotated[str, Field(min_length=1)]
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]  #: when they were taken down, YYYY-MM-DD
    price: str | None = None


def read_record(cls: type[Record], data: Mapping[str, Any], where: str) -> Record:
    """Validate `data` as a `cls`; InputError naming `where`, the key and the nearest known one, or all that lack."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        first = errors[0]
        key = ".".join(str(part) for part in first["loc"])
        unknown = [one for one in errors if one["type"] == "extra_forbidden"]
        if unknown:
            key = ".".join(str(part) for part in unknown[0]["loc"])
            raise InputError(f"{where}: unknown key {key}{nearest(key, _keys(cls))}") from None
        if first["type"] == "missing":
            lacking = [".".join(map(str, one["loc"])) for one in errors if one["type"] == "missing"]
            verb = "is" if len(lacking) == 1 else "are"
            raise InputError(f"{where}: {', '.join(lacking)} {verb} missing") from None
        said = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if not key:
            raise InputError(f"{where}: {said}") from None
        if first["type"] == "value_error":
            raise InputError(f"{where}: {key}: {said}") from None
        raise InputError(f"{where}: {key} = {first['input']!r}, expected {said}") from None


def _keys(cls: type[BaseModel]) -> list[str]:
    """Names of the record's keys, those of the tables in it with the table's name before."""
    found = list(cls.model_fields)
    for name, field in cls.model_fields.items():
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                found += [f"{name}.{key}" for key in inner.model_fields]
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. InputError names the file."""
    try:
        data = parse_json(read_text(path, MOST_SETTINGS_BYTES), str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object")
    return data


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. InputError names the file."""
    try:
        return parse_toml(read_text(path, MOST_SETTINGS_BYTES), str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not TOML ({error})") from None


@cache
def profiles_dir() -> Path:
    """Folder hardware_profiles: inside an installed wheel, else beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_data" / "hardware_profiles"
    return installed if installed.is_dir() else package.parent / "hardware_profiles"


def names_of(kind: str) -> list[str]:
    """Names of the shipped profiles of a kind: gpus, models, hosts."""
    return sorted(path.stem for path in (profiles_dir() / kind).glob("*.toml"))
