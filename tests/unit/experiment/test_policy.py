from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from llmsim.errors import InputError
from llmsim.scenario.options import make_policy


@dataclass(frozen=True)
class Policy:
    seats: int = 4
    share: float = 0.5
    names: tuple[str, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if self.seats > 100:
            raise InputError("more than 100 seats")


class Plain:
    pass


def build(**options: object) -> Policy:
    return make_policy(Policy, options, lambda keys: f"file, line {len(keys)}: ", ("scheduler",))


def test_a_policy_gets_the_options_given_and_keeps_its_defaults() -> None:
    assert build() == Policy()
    assert build(seats=7, share=1) == Policy(seats=7, share=1.0)


def test_a_policy_without_options_needs_none() -> None:
    assert isinstance(make_policy(Plain, {}, lambda keys: "", ("scheduler",)), Plain)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seat": 7}, "file, line 2: scheduler.seat: unknown key; did you mean 'seats'?"),
        ({"seats": 7.5}, "file, line 2: scheduler.seats: 7.5: expected a valid integer (its default is 4)"),
        ({"seats": True}, "file, line 2: scheduler.seats: True: expected a valid integer (its default is 4)"),
        ({"share": "half"}, "file, line 2: scheduler.share: 'half': expected a valid number (its default is 0.5)"),
        ({"seats": 101}, "file, line 1: scheduler: more than 100 seats"),
    ],
)
def test_options_that_a_policy_does_not_take_are_told(options: dict[str, object], says: str) -> None:
    with pytest.raises(InputError) as caught:
        build(**options)

    assert str(caught.value) == says
