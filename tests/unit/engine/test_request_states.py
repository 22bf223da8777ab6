from __future__ import annotations

import pytest
from numpy import array

from llmsim.engine.decode_batch import DecodeBatch
from llmsim.engine.journal import Journal
from llmsim.engine.memory import KVMemory
from llmsim.engine.recorder import Recorder
from llmsim.engine.request_states import RequestStates
from llmsim.request import Request
from llmsim.scheduler import Decision
from llmsim.waiting import ArrivalQueue


@pytest.mark.parametrize(("moved", "ended"), [((), [2, 0, 1]), ((0, 2), [1, 0, 2])])
def test_requests_of_one_step_end_in_order_of_the_running_ones(moved: tuple[int, ...], ended: list[int]) -> None:
    heard: list[int] = []
    tokens = array([2, 2, 2])
    recorder = Recorder(array([0.0, 0.0, 0.0]), tokens, tokens, 1)
    journal = Journal(0, recorder, lambda _, request: heard.append(request.id))
    memory = KVMemory(100)
    states = RequestStates(ArrivalQueue(), memory, DecodeBatch(memory), journal, tokens.tolist(), "fcfs")
    for id in (2, 0, 1):
        states.enqueue(Request(id, 0.0, 2))
    for request, chunk in states.admit(Decision({2: 2, 0: 2, 1: 2}))[0]:
        states.complete_chunk(request, chunk, 0.0, sends=False)
    states.carry_out(Decision(order=moved))
    states.finish_in_order(states.batch.advance(1))

    assert heard == ended
