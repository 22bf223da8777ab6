"""The clock: order at equal times, and time that passes without an event."""

from llmsim.engine.clock import ARRIVAL, LEAVING, SCALING, Clock


def visits(clock, *moments):
    """Note what happens when, events at `moments` (time, rank, name) as well as one process that arrives at 2 s."""
    seen = []

    def note(name):
        seen.append((clock.now_s, clock.rank, name))

    def arrives():
        for time_s, rank, name in moments:
            clock.at(time_s, rank).callbacks.append(lambda _, name=name: note(name))
        at_once = clock.passes_to(2.0, ARRIVAL)
        if not at_once:
            yield clock.at(2.0, ARRIVAL)
        note("at once" if at_once else "in turn")
        yield clock.at(9.0, ARRIVAL)

    clock.process(arrives())
    clock.run_until()
    return seen


def test_time_passes_at_once_to_a_moment_that_nothing_comes_before():
    assert visits(Clock()) == [(2.0, ARRIVAL, "at once")]
    assert visits(Clock(), (3.0, ARRIVAL, "later")) == [(2.0, ARRIVAL, "at once"), (3.0, ARRIVAL, "later")]
    assert visits(Clock(), (2.0, 5, "step")) == [(2.0, ARRIVAL, "at once"), (2.0, 5, "step")]


def test_the_earlier_request_goes_first():
    assert visits(Clock(), (1.0, LEAVING, "left")) == [(1.0, LEAVING, "left"), (2.0, ARRIVAL, "in turn")]


def test_at_the_same_time_a_lower_rank_and_the_earlier_event_go_first():
    assert visits(Clock(), (2.0, SCALING, "scaled")) == [(2.0, SCALING, "scaled"), (2.0, ARRIVAL, "in turn")]
    assert visits(Clock(), (2.0, ARRIVAL, "sent")) == [(2.0, ARRIVAL, "sent"), (2.0, ARRIVAL, "in turn")]


def test_time_that_passes_at_once_forgets_the_rank_of_what_was_before():
    clock = Clock()
    ranks = []

    def arrives():
        yield clock.at(1.0, LEAVING)
        assert clock.rank == LEAVING
        assert clock.passes_to(2.0, ARRIVAL)
        ranks.append((clock.rank, clock.now_s, clock.now))
        yield clock.at(3.0, ARRIVAL)

    clock.process(arrives())
    clock.run_until()

    assert ranks == [(ARRIVAL, 2.0, 2.0)]


def test_time_does_not_pass_the_end_of_the_run():
    clock = Clock()
    reached = []

    def arrives():
        for time_s in (1.0, 2.0, 2.5):
            if not clock.passes_to(time_s, ARRIVAL):
                yield clock.at(time_s, ARRIVAL)
            reached.append(time_s)

    clock.process(arrives())
    clock.run_until(2.0)

    assert reached == [1.0]
    assert clock.now_s == 2.0
