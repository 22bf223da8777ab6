"""By which SLO, reader and window a result is judged, where it is not by its own; and which run of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from llmsim.errors import InputError, nearest

if TYPE_CHECKING:
    from llmsim.metrics.smooth_goodput import User
    from llmsim.metrics.window import Window
    from llmsim.slo import Slo

    SloBounds: TypeAlias = Slo | Mapping[str, float | None] | None
    Reader: TypeAlias = User | Mapping[str, Any] | None


def run_of_file(text: str | None) -> int | None:
    """Number of the run that --run names; None for all, or where nothing is said."""
    if text is None or text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--run {text}: expected a number from 1 on, or all")
    return int(text)


@dataclass(frozen=True, slots=True)
class Choices:
    """What is asked for instead of what a result or a default says; None: nothing."""

    slo: Mapping[str, float | None]
    user: Mapping[str, Any]
    window: str | Window | None

    def slo_or(self, default: Slo | None) -> Slo | None:
        """The bounds given, all others left open; without any, the default."""
        from llmsim.slo import Slo

        return Slo(**self.slo) if any(bound is not None for bound in self.slo.values()) else default

    def user_or(self, default: User) -> User:
        """The default reader with what was given changed."""
        return replace(default, **{name: value for name, value in self.user.items() if value is not None})

    def window_or(self, default: Window) -> Window:
        """The window given, or the default."""
        return _window(self.window) if isinstance(self.window, str) else self.window or default


def _window(text: str) -> Window:
    from llmsim.metrics.window import KINDS, Window

    if text == "arrivals":
        return Window()
    if text == "makespan":
        return Window(kind="makespan")
    start, colon, end = text.partition(":")
    try:
        bounds = [float(part) if part else None for part in (start, end)]
    except ValueError:
        colon = ""
    if not colon:
        raise InputError(f"--window {text}: expected START:END in seconds{nearest(text, KINDS)}")
    return Window(start_s=bounds[0], end_s=bounds[1])


def choices_of(slo: SloBounds, user: Reader, window: str | Window | None) -> Choices:
    """Gather what a call is given."""
    bounds = asdict(slo) if is_dataclass(slo) else dict(slo or {})
    reader = asdict(user) if is_dataclass(user) else dict(user or {})
    return Choices(bounds, reader, window)
