"""Where the seats are drawn: rows in arcs around the stage, numbered like a snake so that neighbours sit together."""

from __future__ import annotations

from functools import lru_cache
from math import cos, pi, sin
from typing import NamedTuple

WIDTH, HEIGHT = 400.0, 222.0
STAGE = (WIDTH / 2, 8.0)
FRONT, BACK = 60.0, 204.0
SPREAD = 0.80 * pi
"""The angle that a row spans."""


class Seat(NamedTuple):
    number: int
    x: float
    y: float


class House(NamedTuple):
    seats: tuple[Seat, ...]
    radius: float


@lru_cache(maxsize=64)
def house(tickets: int) -> House:
    """Places for so many seats, the front row first."""
    rows = max(1, round((tickets / 2.6) ** 0.5)) if tickets > 6 else 1
    step = (BACK - FRONT) / max(rows, 3)
    radii = [FRONT + step * (row + 0.5) for row in range(rows)]
    total = sum(radii)
    counts = [int(tickets * radius / total) for radius in radii]
    for row in range(tickets - sum(counts)):
        counts[-1 - row % rows] += 1
    seats: list[Seat] = []
    for row, (radius, count) in enumerate(zip(radii, counts, strict=True)):
        for place in range(count) if row % 2 else reversed(range(count)):
            angle = pi / 2 + SPREAD * ((place + 0.5) / count - 0.5)
            seats.append(Seat(len(seats) + 1, round(STAGE[0] + radius * cos(angle), 1), round(STAGE[1] + radius * sin(angle), 1)))
    gap = min(step, *(SPREAD * radius / count for radius, count in zip(radii, counts, strict=True) if count))
    return House(tuple(seats), round(min(gap * 0.36, 7.0), 2))
