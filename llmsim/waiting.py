"""The queue of an instance, in an order of the scheduler's choice, kept sorted as requests come and go.

A policy that sorted thousands of waiting requests at every step would pay for it at every step. Its order, though,
rarely changes while they wait: a key that stands still is worked out once for each request, when it joins.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from llmsim.request import Request, RequestView

#: what a queue is sorted by: tuples of numbers, the least first
Key = Callable[[RequestView], tuple[Any, ...]]


class WaitingQueue(Protocol):
    """What an instance needs of its queue: requests by id, in order."""

    def __len__(self) -> int:
        """How many wait."""

    def __iter__(self) -> Iterator[int]:
        """Ids in order."""

    def __setitem__(self, id: int, request: Request, /) -> None:
        """Let a request join, at the end where there is no other order."""

    def get(self, id: int, /) -> Request | None:
        """Return a request, or None if it does not wait."""

    def pop(self, id: int, default: None, /) -> Request | None:
        """Take a request out and return it, or None if it does not wait."""

    def move_to_end(self, id: int, last: bool = True) -> None:
        """Put a request that was preempted to the head (`last` is False), where there is no other order."""

    def values(self) -> Iterable[Request]:
        """Requests in order."""


#: first come first served, preempted requests to the head
ArrivalQueue = OrderedDict[int, Request]


class RetractedLast(ArrivalQueue):
    """First come first served, preempted requests to the end."""

    def move_to_end(self, id: int, last: bool = True) -> None:
        """Leave a preempted request at the end, where it has just joined."""


#: a key, ties by id
Place = tuple[tuple[Any, ...], int]
PIECE = 512  #: places; a piece of twice as many is cut in two


class SortedQueue:
    """Requests sorted by a key, ties by id, in pieces: two binary searches to join or leave, and a shift in one piece.

    A request's key is taken when it joins, and holds until it leaves.
    """

    def __init__(self, key: Key) -> None:
        self._key = key
        self._places: dict[int, Place] = {}  # by id
        self._requests: dict[int, Request] = {}
        self._pieces: list[list[Place]] = []  # in order, none of them empty
        self._ends: list[Place] = []  # the last place of each

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[int]:
        return (id for piece in self._pieces for _, id in piece)

    def __setitem__(self, id: int, request: Request, /) -> None:
        self.pop(id, None)
        place = self._places[id] = (self._key(request), id)
        self._requests[id] = request
        number = bisect_left(self._ends, place)
        if number < len(self._pieces):
            piece = self._pieces[number]
            insort(piece, place)
        elif self._pieces:  # behind all others
            number -= 1
            piece = self._pieces[number]
            piece.append(place)
            self._ends[number] = place
        else:
            self._pieces, self._ends = [[place]], [place]
            return
        if len(piece) > 2 * PIECE:
            self._pieces[number : number + 1] = piece[:PIECE], piece[PIECE:]
            self._ends.insert(number, piece[PIECE - 1])

    def get(self, id: int, /) -> Request | None:
        """Return a request, or None if it does not wait."""
        return self._requests.get(id)

    def pop(self, id: int, default: None = None, /) -> Request | None:
        """Take a request out and return it, or None if it does not wait."""
        place = self._places.pop(id, None)
        if place is None:
            return default
        number = bisect_left(self._ends, place)
        piece = self._pieces[number]
        del piece[bisect_left(piece, place)]
        if piece:
            self._ends[number] = piece[-1]
        else:
            del self._pieces[number], self._ends[number]
        return self._requests.pop(id)

    def move_to_end(self, id: int, last: bool = True) -> None:
        """Leave preempted requests where the key puts them, as all others."""

    def values(self) -> Iterable[Request]:
        """Requests in order."""
        return InOrder(self._pieces, self._requests)


class InOrder:
    """The requests of a sorted queue, in order. Looking at the first few costs no more than these few."""

    __slots__ = ("_pieces", "_requests")

    def __init__(self, pieces: Iterable[Iterable[Place]], requests: Mapping[int, Request]) -> None:
        self._pieces = pieces
        self._requests = requests

    def __iter__(self) -> Iterator[Request]:
        requests = self._requests
        return (requests[id] for piece in self._pieces for _, id in piece)
