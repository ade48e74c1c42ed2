"""One sale, one object: who holds which seat.

Everything that must never go wrong is here, in plain Python: no locks, no transactions, no retries. Two buyers who press
at the same instant are two calls, and an object runs one call at a time; what a call returned has been committed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from jido_objects import DurableObject, ObjectException, query

HOLD = timedelta(minutes=10)
SEATS_PER_BUYER = 4
REMEMBERED = 8
"""How many moments the page shows."""
DRAWN = 400
"""Up to this many tickets the page draws every seat."""


class NotOpen(ObjectException):
    """This sale has not opened yet."""


class SoldOut(ObjectException):
    """Only {0} left."""


class TooMany(ObjectException):
    """{0} tickets per person, and you hold {1}."""


@dataclass(frozen=True)
class Hold:
    """Seats kept for one buyer, until then."""

    seats: tuple[int, ...]
    until: datetime


@dataclass(frozen=True)
class Moment:
    """One line of the recent activity."""

    buyer: str
    what: str
    seats: int
    at: datetime


@dataclass(frozen=True)
class Overview:
    """What the page shows, all of one instant."""

    tickets: int
    left: int
    taken: tuple[int, ...]
    yours: Hold | None
    activity: tuple[Moment, ...]


class Sale(DurableObject):
    tickets: int = 0
    stock: int = 0
    holds: dict[str, Hold] = {}  # in the order in which they end
    returned: list[int] = []  # seats that came back; the others still in stock were never held
    activity: list[Moment] = []

    def open(self, tickets: int) -> int:
        """Put tickets on sale, once; returns how many are left."""
        if not self.tickets:
            self.tickets = self.stock = tickets
        return self.stock

    def reserve(self, buyer: str, n: int = 1) -> Hold:
        """Hold ``n`` more seats for a buyer, and all of that buyer's for another ten minutes."""
        if not self.tickets:
            raise NotOpen
        self._let_go()
        held = self.holds.pop(buyer, None)
        seats = held.seats if held else ()
        if n < 1 or len(seats) + n > SEATS_PER_BUYER:
            raise TooMany(SEATS_PER_BUYER, len(seats))
        if n > self.stock:
            raise SoldOut(self.stock)
        hold = Hold(seats=seats + tuple(self._take() for _ in range(n)), until=self.now() + HOLD)
        self.holds[buyer] = hold
        self._tell(buyer, "took", n)
        return hold

    def release(self, buyer: str) -> int:
        """Give a buyer's seats back; returns how many these were."""
        self._let_go()
        hold = self.holds.pop(buyer, None)
        if hold is None:
            return 0
        self._give_back(hold)
        self._tell(buyer, "gave back", len(hold.seats))
        return len(hold.seats)

    @query
    def left(self) -> int:
        return self.stock + sum(len(self.holds[buyer].seats) for buyer in self._ended())

    @query
    def overview(self, buyer: str) -> Overview:
        ended = set(self._ended())
        holds = {name: hold for name, hold in self.holds.items() if name not in ended}
        taken = [seat for hold in holds.values() for seat in hold.seats] if self.tickets <= DRAWN else []
        return Overview(
            tickets=self.tickets,
            left=self.left(),
            taken=tuple(sorted(taken)),
            yours=holds.get(buyer),
            activity=tuple(self.activity),
        )

    def _ended(self) -> list[str]:
        now = self.now()
        ended = []
        for buyer, hold in self.holds.items():
            if hold.until > now:
                break
            ended.append(buyer)
        return ended

    def _let_go(self) -> None:
        for buyer in self._ended():
            hold = self.holds.pop(buyer)
            self._give_back(hold)
            self._tell(buyer, "ran out of time for", len(hold.seats))

    def _take(self) -> int:
        if self.returned:
            seat = min(self.returned)
            self.returned.remove(seat)
        else:
            seat = self.tickets - self.stock + 1
        self.stock -= 1
        return seat

    def _give_back(self, hold: Hold) -> None:
        self.returned.extend(hold.seats)
        self.stock += len(hold.seats)

    def _tell(self, buyer: str, what: str, seats: int) -> None:
        self.activity.insert(0, Moment(buyer=buyer, what=what, seats=seats, at=self.now()))
        del self.activity[REMEMBERED:]
