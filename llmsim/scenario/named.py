"""Tables of a scenario that name something found by its name, and hold its options beside the name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from llmsim import discovery
from llmsim.errors import InputError
from llmsim.scenario.options import options_model
from llmsim.scenario.table import Table

#: context of a validation that takes names as they are which are not found: of a result, made where they were
STORED = {"stored": True}


class Named(Table):
    """A table whose options are checked as soon as it is read, against the fields of the class that it names."""

    model_config = ConfigDict(extra="allow")

    key: ClassVar[str]  #: the key that holds the name
    package: ClassVar[str]  #: where files of that name are
    base: ClassVar[type]  #: what their classes are

    @classmethod
    def of(cls, name: str, **options: Any) -> Self:
        """Make one in Python; pydantic's ValidationError for what cannot be."""
        return cls.model_validate({cls.key: name, **options})

    @property
    def options(self) -> dict[str, Any]:
        """The options given."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _options_fit(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, Mapping) or not isinstance(name := given.get(cls.key), str):
            return given
        try:
            model = cls.model_of(name)
        except InputError as error:
            if info.context == STORED:
                return given
            problem = PydanticCustomError("not_found", "{said}", {"said": str(error)})
            raise ValidationError.from_exception_data(cls.__name__, [_line((cls.key,), problem, name)]) from None
        options = {key: value for key, value in given.items() if key != cls.key}
        try:
            checked = model.model_validate(options)
        except ValidationError as error:
            problems = [_line((name, *e["loc"]), e["type"], e["input"], **e.get("ctx", {})) for e in error.errors()]
            raise ValidationError.from_exception_data(cls.__name__, problems) from None
        return {cls.key: name, **{option: getattr(checked, option) for option in options}}

    @classmethod
    def names(cls) -> list[str]:
        """Return the names that can be found."""
        return discovery.names(cls.package)

    @classmethod
    def model_of(cls, name: str) -> type[BaseModel]:
        """Return the options of a name as fields; InputError if there is none of that name."""
        return _model(cls, name)


@cache
def _model(table: type[Named], name: str) -> type[BaseModel]:
    return options_model(discovery.find(table.package, name, table.base), beside=(table.key,))


def _line(loc: tuple[int | str, ...], what: str | PydanticCustomError, given: Any, **context: Any) -> InitErrorDetails:
    return InitErrorDetails(type=what, loc=loc, input=given, ctx=context)
