"""What must be true after the storm, whatever happened during it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .load import Load


@dataclass(frozen=True)
class Check:
    claim: str
    holds: bool
    evidence: str


def seats_in(state: dict[str, Any] | None) -> dict[str, tuple[int, ...]]:
    """Who holds which seats, in a committed state as ``peek`` gives it."""
    return {buyer: hold.seats for buyer, hold in state["holds"].items()} if state else {}


async def prove(load: Load, tickets: int, buyers: int, shown: dict[str, Any], state: dict[str, Any] | None) -> list[Check]:
    """Compare the buyers' answers with the server's (``shown``) and with the database's (``state``)."""
    outcome = load.outcome
    sold = min(tickets, buyers)
    seats = [seat for held in outcome.held.values() for seat in held]
    written = seats_in(state)
    sample = [] if outcome.unknown else [*outcome.held, *list(outcome.refused)[:100]]
    differ = await load.ask_again(sample)
    stray = [buyer for buyer in outcome.held.keys() | written.keys() if outcome.held.get(buyer) != written.get(buyer)]
    return [
        Check("every buyer knows", not outcome.unknown, f"{outcome.known:,} answers, {len(outcome.unknown):,} unknown"),
        Check(
            f"exactly {sold:,} were told yes", len(outcome.held) == sold, f"{len(outcome.held):,} held, {len(outcome.refused):,} refused"
        ),
        Check(
            "no seat is held twice",
            len(set(seats)) == len(seats) == sold and all(1 <= seat <= tickets for seat in seats),
            f"{len(set(seats)):,} different seats, {len(seats):,} held",
        ),
        Check("the server says the same", shown["left"] == tickets - sold, f"{shown['left']:,} of {shown['tickets']:,} left"),
        Check(
            "the database says the same, buyer by buyer",
            not stray,
            f"{len(written):,} holds written" + (f"; differ: {stray[:3]}" if stray else ""),
        ),
        Check("asked again, the same answer", not differ, f"{len(sample):,} asked again" + (f"; differ: {differ[:3]}" if differ else "")),
    ]
