"""Traces thinned, and beside copies of themselves: counts, times, and who shares what, by hand and in the mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llmsim.errors import InputError
from llmsim.workload.contract import Workload
from llmsim.workload.traces import read_trace

#: 100 requests, one every second; each prompt is told by its number
PLAIN = "arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{i},{i + 1},5\n" for i in range(100))
#: 40 conversations of two turns, the second one two seconds after the first
TURNS = "".join(
    f'{{"timestamp": {at}, "input_length": {tokens + c}, "output_length": 5, "session_id": "c{c}"}}\n'
    for c in range(40)
    for at, tokens in ((5000 * c, 10), (5000 * c + 2000, 100))
)


def read(folder: Path, text: str, superpose: float, seed: int = 0) -> Workload:
    file = folder / "trace.csv"
    file.write_text(text)
    return read_trace(file, superpose=superpose, rng=np.random.default_rng(seed))


def test_at_one_it_is_the_trace(tmp_path: Path) -> None:
    workload = read(tmp_path, PLAIN, 1.0)

    assert workload.arrival_s.tolist() == list(range(100))
    assert "in the same time" not in workload.source


def test_a_thinned_trace_keeps_the_times_of_what_is_left(tmp_path: Path) -> None:
    workload = read(tmp_path, PLAIN, 0.5)

    assert (workload.prompt_tokens == workload.arrival_s + 1).all()
    assert 30 < len(workload) < 70  # binomial: 50 with a deviation of 5
    assert workload.source.endswith("requests x 0.5 in the same time")
    assert len({len(read(tmp_path, PLAIN, 0.5, seed)) for seed in range(8)}) > 1


def test_copies_are_moved_round_and_add_up(tmp_path: Path) -> None:
    workload = read(tmp_path, PLAIN, 3.0)

    assert len(workload) == 300
    times, counts = np.unique(workload.prompt_tokens, return_counts=True)
    assert (counts == 3).all()
    assert len(times) == 100
    assert workload.arrival_s.max() < 100  # the length of the trace, with the gap after its last request
    moved = [np.sort((workload.arrival_s[workload.prompt_tokens == p] - (p - 1)) % 100) for p in (1, 50, 100)]
    assert moved[0] == pytest.approx(moved[1])
    assert moved[0] == pytest.approx(moved[2])
    assert moved[0][0] == pytest.approx(0.0)
    assert len(np.unique(moved[0].round(6))) == 3


def test_the_mean_number_is_the_factor(tmp_path: Path) -> None:
    counts = [len(read(tmp_path, PLAIN, 1.5, seed)) for seed in range(100)]

    assert np.mean(counts) == pytest.approx(150, abs=4 * 5 / 10)  # binomial: a deviation of 5 each


def test_conversations_stay_whole_and_copies_have_users_of_their_own(tmp_path: Path) -> None:
    workload = read(tmp_path, TURNS, 2.5)
    assert workload.user is not None
    by_user = {user: np.flatnonzero(workload.user == user) for user in np.unique(workload.user)}

    assert 80 < len(by_user) <= 120
    for rows in by_user.values():
        assert len(rows) == 2
        assert np.diff(workload.arrival_s[rows]) == pytest.approx([2.0])
        assert np.diff(workload.prompt_tokens[rows]) == [90]


def test_a_copy_shares_no_tokens_with_another(tmp_path: Path) -> None:
    rows = "".join(
        f'{{"timestamp": {1000 * i}, "input_length": 1024, "output_length": 5, "hash_ids": [7, {i}]}}\n'
        for i in range(20)
    )
    workload = read(tmp_path, rows, 2.0)
    assert workload.prefixes is not None
    first = workload.prefixes.ids[workload.prefixes.start[:-1]]

    assert len(workload) == 40
    assert np.unique(first, return_counts=True)[1].tolist() == [20, 20]
    assert len(np.unique(workload.prefixes.ids)) == 2 + 2 * 20


@pytest.mark.parametrize(
    ("superpose", "said"),
    [(0.0, "superpose = 0.0: expected"), (1e-9, "leaves none of 100 requests"), (1e9, "more than")],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, superpose: float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, PLAIN, superpose)


def test_drawn_times_are_not_superposed(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text(PLAIN)
    with pytest.raises(InputError, match="superpose is of the file's times"):
        read_trace(tmp_path / "trace.csv", superpose=2.0, arrivals=lambda n: np.arange(float(n)))
