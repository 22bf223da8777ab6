"""The options of a policy, or of another part that is found by its name: read, checked, and made into one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from llmsim import guests
from llmsim.errors import InputError
from llmsim.scenario.messages import Place, input_error

P = TypeVar("P")
#: a file of one's own has another class each time that it is loaded: not all of them are kept
MODELS_KEPT = 256


def make_policy(
    policy: type[P], options: Mapping[str, Any], place: Place, prefix: tuple[str, ...], beside: Iterable[str] = ()
) -> P:
    """Build a policy, a dataclass whose fields are its options, from options that a user wrote.

    Raises InputError with place and key for an option that is unknown or has the wrong type, and for what the
    policy itself refuses. `beside`: keys of the same table that are no options, for the nearest right name.
    """
    checked = options_model(policy, beside=beside)
    try:
        values = checked.model_validate(dict(options))
    except ValidationError as error:
        raise input_error(error, checked, place, prefix) from None
    try:
        return policy(**{name: getattr(values, name) for name in values.model_fields_set})
    except (InputError, ValueError) as error:
        raise InputError(f"{place(prefix)}{'.'.join(prefix)}: {error}") from None
    except BaseException as error:
        raise guests.blamed(error, f"{place(prefix)}{policy.__name__}", InputError) from error


def options_model(policy: type, beside: Iterable[str] = ()) -> type[BaseModel]:
    """Return the options of a policy as fields of a strict pydantic model; `beside` as above."""
    return _options_model(policy, tuple(beside))


@lru_cache(maxsize=MODELS_KEPT)
def _options_model(policy: type, beside: tuple[str, ...]) -> type[BaseModel]:
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    try:
        hints = get_type_hints(policy, include_extras=True)
        fields = dataclasses.fields(policy) if dataclasses.is_dataclass(policy) else ()
        known: dict[str, Any] = {field.name: (hints[field.name], _default(field)) for field in fields if field.init}
        known["beside"] = (ClassVar[tuple[str, ...]], beside)
        return create_model(policy.__name__, __config__=config, **known)
    except Exception as error:  # of names that are not there, or types that no file can have
        raise InputError(f"options of {policy.__name__}: {guests.in_a_line(error)}") from error


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return Field(default_factory=field.default_factory)
    return ...
