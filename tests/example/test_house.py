"""The drawing of the seats."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import dist

import pytest

from tour.house import HEIGHT, WIDTH, house
from tour.objects import DRAWN


@pytest.mark.parametrize("tickets", [1, 2, 5, 6, 7, 20, 36, 64, 100, 101, 240, DRAWN])
def test_every_seat_has_a_place_of_its_own_inside_the_drawing(tickets: int) -> None:
    drawn = house(tickets)
    assert [seat.number for seat in drawn.seats] == list(range(1, tickets + 1))
    assert all(drawn.radius <= seat.x <= WIDTH - drawn.radius and drawn.radius <= seat.y <= HEIGHT - drawn.radius for seat in drawn.seats)
    places = [(seat.x, seat.y) for seat in drawn.seats]
    assert all(dist(one, other) > 2 * drawn.radius for one, other in combinations(places, 2))


def test_neighbours_sit_together() -> None:
    drawn = house(100)
    places = [(seat.x, seat.y) for seat in drawn.seats]
    assert max(dist(one, other) for one, other in pairwise(places)) < 45
