"""Sums against sequences counted one by one: a few of the cases of even_acceptance.py."""

from __future__ import annotations

import pytest

from llmsim.engine.speculation.blocks import Lane
from tests.oracles.even_acceptance import main


def test_batches_as_sums_equal_sequences_counted_one_by_one(capsys):
    assert main(150) == 0
    assert "150 random cases: 0 differ" in capsys.readouterr().out


def test_a_block_too_many_is_found(monkeypatch: pytest.MonkeyPatch, capsys):
    upto = Lane.upto
    monkeypatch.setattr(Lane, "upto", lambda lane, step: upto(lane, step) + (step == 3))
    assert main(60) > 5
