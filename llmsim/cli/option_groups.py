"""Options that belong together: a verb takes them as one argument, the fields of a dataclass."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

Verb = Callable[..., Any]


def with_group(kind: type) -> Callable[[Verb], Verb]:
    """Let a verb's argument that is annotated with a dataclass stand on the command line as the fields of this class.

    A field is annotated as an option of a verb is, with `typer.Option` or `typer.Argument`.
    """
    fields = inspect.signature(kind, eval_str=True).parameters

    def widened(verb: Verb) -> Verb:
        own = inspect.signature(verb, eval_str=True).parameters
        (name,) = (each.name for each in own.values() if each.annotation is kind)

        def parameters() -> Iterator[inspect.Parameter]:
            for each in own.values():
                for one in fields.values() if each.name == name else (each,):
                    yield one.replace(kind=inspect.Parameter.KEYWORD_ONLY)

        @functools.wraps(verb)
        def called(**given: Any) -> Any:
            group = kind(**{field: given.pop(field) for field in fields})
            return verb(**given, **{name: group})

        called.__signature__ = inspect.Signature(list(parameters()))  # type: ignore[attr-defined]
        return called

    return widened
