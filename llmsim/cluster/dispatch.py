"""Where a router sends requests."""

from __future__ import annotations

from llmsim import guests
from llmsim.cluster.autoscaling import ReadyInstances
from llmsim.cluster.fleet import Fleet
from llmsim.engine.clock import Clock
from llmsim.engine.decision_types import is_whole, shortened
from llmsim.errors import PolicyError
from llmsim.request import Request
from llmsim.router import Router


class Dispatcher:
    """Picks an instance of a fleet for each request, by a router."""

    __slots__ = ("_clock", "_number", "_router", "_view", "fleet")

    def __init__(self, clock: Clock, router: Router, fleet: Fleet, view: ReadyInstances | None = None) -> None:
        self._clock = clock
        self._router = router
        self._view = fleet if view is None else view  # where the router does not see all of the fleet
        self._number = None if view is None else view.number  # in the fleet, of an instance that it does see
        self.fleet = fleet

    def pick(self, request: Request) -> int:
        """Return the number in the fleet of the instance that the router chooses.

        Raises `PolicyError` if there is no such instance.
        """
        view = self._view
        if self._clock.now_s >= self.fleet.due_s:
            self.fleet.refresh()
        try:
            chosen = self._router.route(request, view)
        except BaseException as error:
            raise guests.blamed(error, f"{self._place()}, routing request {request.id}", PolicyError) from error
        if not ((chosen.__class__ is int or is_whole(chosen)) and 0 <= chosen < view.size):
            raise PolicyError(
                f"{self._place()}: request {request.id} was sent to instance {shortened(chosen)}, "
                f"expected 0 to {view.size - 1}"
            )
        return chosen if self._number is None else self._number(chosen)

    def _place(self) -> str:
        return f"{type(self._router).__name__} at t={self._clock.now_s:.6f} s"
