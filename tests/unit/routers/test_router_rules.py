"""What each router does, on fleets small enough to say where a request must go."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.request import Request
from llmsim.routers.length_split import LengthSplit
from llmsim.routers.priority import Priority
from llmsim.routers.session_affinity import SessionAffinity, hashed
from llmsim.routers.shortest_expected_delay import ShortestExpectedDelay


def fleet(outstanding, **known):
    known = {"pools": {"all": np.arange(len(outstanding))}, **known}
    rows = {name: value if name == "pools" else np.array(value) for name, value in known.items()}
    return SimpleNamespace(size=len(outstanding), outstanding=np.array(outstanding), **rows)


def asked(prompt_tokens=100, user=0, id=0):
    request = Request(id, 0.0, prompt_tokens)
    request.user = user
    return request


def test_shortest_expected_delay_weighs_queues_by_speed():
    """By hand: (queued + 100) / prefill + (outstanding + 1) x 10 / decode: 0.2 + 0.4; 0.11 + 0.3; 0.05 + 0.6 s."""
    known = {
        "waiting_tokens": [100, 10, 0],
        "prefill_tokens_per_s": [1000.0, 1000.0, 2000.0],
        "decode_tokens_per_s": [100.0, 100.0, 50.0],
    }
    router = ShortestExpectedDelay(expected_output_tokens=10)

    assert router.route(asked(), fleet([3, 2, 2], **known)) == 1
    assert router.route(asked(), fleet([0, 2, 2], **known)) == 0  # 0.2 + 0.1
    assert router.route(asked(prompt_tokens=10_000), fleet([3, 2, 2], **known)) == 2  # 5 s there, 10 s elsewhere


def test_equally_fast_instances_with_empty_queues_are_joined_by_length():
    known = {"waiting_tokens": [0] * 4, "prefill_tokens_per_s": [1e3] * 4, "decode_tokens_per_s": [1e2] * 4}

    assert ShortestExpectedDelay().route(asked(), fleet([4, 2, 2, 9], **known)) == 1


def test_a_fast_instance_is_chosen_although_a_slow_one_is_idle():
    """By hand: two on the fast one are done after 2 x 200 / 120 tokens/s = 3.3 s, one on the slow one after 4 s."""
    known = {"waiting_tokens": [0, 0], "prefill_tokens_per_s": [1e6, 1e6], "decode_tokens_per_s": [50.0, 120.0]}

    assert ShortestExpectedDelay().route(asked(), fleet([0, 1], **known)) == 1
    assert ShortestExpectedDelay().route(asked(), fleet([0, 2], **known)) == 0


def test_length_split_sends_long_prompts_to_their_pool_and_to_its_idlest():
    pools = {"pools": {"a": np.array([0, 1]), "b": np.array([2, 3])}}
    router = LengthSplit(threshold_tokens=100, short="a", long="b")

    assert router.route(asked(100), fleet([5, 4, 0, 0], **pools)) == 1
    assert router.route(asked(101), fleet([0, 0, 9, 8], **pools)) == 3
    assert router.pools_named() == {"short": ["a"], "long": ["b"]}


@pytest.mark.parametrize(("size", "short", "long"), [(1, 0, 0), (2, 0, 1), (3, 0, 2), (5, 0, 4)])
def test_without_pools_the_last_instances_are_for_long_prompts(size, short, long):
    router = LengthSplit(threshold_tokens=100)

    assert router.route(asked(100), fleet([0] * size)) == short
    assert router.route(asked(101), fleet([0] * size)) == long
    assert LengthSplit(threshold_tokens=100, long_instances=9).route(asked(101), fleet([0] * size)) == min(1, size - 1)


def test_a_user_keeps_the_instance_while_it_has_room():
    """Ten outstanding, eleven with this one: with a factor of 1.5 an instance of four has room for up to 5."""
    router = SessionAffinity(load_factor=1.5)
    own, second = np.argsort(-hashed(7, 4).astype(float))[:2]
    load = np.array([2, 2, 2, 2])
    load[own] += 2

    assert router.route(asked(user=7, id=1), fleet(load)) == own
    load[own], load[second] = 5, 1
    assert router.route(asked(user=7, id=2), fleet(load)) == second


def test_few_users_move_when_an_instance_is_added_and_all_instances_have_their_share():
    """Rendezvous hashing: of 5 to 6 instances a sixth of the users moves, all of them to the new one."""
    before, after = (np.array([hashed(user, size).argmax() for user in range(6000)]) for size in (5, 6))
    moved = before != after

    assert moved.mean() == pytest.approx(1 / 6, abs=0.02)
    assert (after[moved] == 5).all()
    assert np.bincount(after) / 6000 == pytest.approx(1 / 6, abs=0.02)


@pytest.mark.parametrize(
    ("priority", "share", "expected"), [(0, False, 1), (0, True, 4), (1, False, 3), (7, True, 4), (-3, False, 1)]
)
def test_priorities_have_pools_and_may_use_those_of_later_classes(priority, share, expected):
    pools = {"pools": {"a": np.array([0, 1]), "b": np.array([2, 3]), "c": np.array([4])}}
    request = asked()
    request.priority = priority

    assert Priority(["a", "b", "c"], share).route(request, fleet([5, 4, 3, 2, 1], **pools)) == expected


def test_without_pools_every_priority_may_go_everywhere():
    assert Priority().route(asked(), fleet([5, 4, 6])) == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SessionAffinity(load_factor=0.9), "load_factor = 0.9, expected at least 1"),
        (lambda: LengthSplit(short="a"), "short and long name a pool each"),
        (lambda: LengthSplit(threshold_tokens=0), "threshold_tokens is 0, expected more than 0"),
        (lambda: Priority(["a", "a"]), "expected every pool once"),
        (lambda: ShortestExpectedDelay(0), "expected_output_tokens is 0, expected more than 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, said):
    with pytest.raises((InputError, ValueError), match=said):
        make()
