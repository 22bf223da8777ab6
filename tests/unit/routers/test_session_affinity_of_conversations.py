"""The turns of a conversation stay together, because the router knows whose they are."""

from __future__ import annotations

import numpy as np

import llmsim


def test_all_turns_of_a_conversation_are_served_by_one_instance():
    changes = ["workload.requests=300", "router.name=session_affinity", "router.load_factor=1000"]
    requests = llmsim.run("sessions", changes).record.requests
    first_of = {c: requests["instance"][requests["conversation"] == c][0] for c in np.unique(requests["conversation"])}

    assert len(first_of) < len(requests["instance"])  # there are later turns
    assert (requests["instance"] == [first_of[c] for c in requests["conversation"]]).all()
    assert len(set(first_of.values())) == 2
