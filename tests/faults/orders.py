"""``kill -9`` in the middle of transactions that an object shares with the ORM: rows and state must agree after each."""

from __future__ import annotations

import asyncio

from . import checks
from .databases import until
from .episodes import Episodes

POINTS = ("transaction:before", "transaction:flight", "transaction:after")


class Orders(Episodes):
    """Both hosts order without pause; one of them dies at a named step of a transaction, or wherever it is."""

    title = "orders"

    async def prepare(self) -> None:
        await asyncio.gather(
            self.insist(self.a, "warm-a", "order", [1], self.call_id()), self.insist(self.b, "warm-b", "order", [1], self.call_id())
        )

    async def episode(self, number: int) -> None:
        victim, other = (self.a, self.b) if number % 2 else (self.b, self.a)
        keys = [f"order-{number}-{n}" for n in range(4)]
        await asyncio.gather(*(self.insist(victim, key, "put", [number], self.call_id()) for key in keys))
        where = (*POINTS, None)[number % 4]
        count = self.rng.randrange(1, 8)
        if where is not None:
            await victim.arm(where, "kill", count)
        # An order that refuses leaves the value which made it refuse: something else must change that.
        attempts = [
            self.history.attempt(victim, key, method, [self.rng.randrange(1000)], self.call_id())
            for method in ("order", "put") * 5
            for key in keys
        ]
        if where is None:
            await asyncio.sleep(self.rng.random() * 0.1)
            victim.kill()
        await until(lambda: victim.ended.is_set() or all(attempt.reply.done() for attempt in attempts), "its end or all answers")
        if victim.ended.is_set():
            self.report.done["kills" if where is None else f"kills at {where}"] += 1
        else:
            # So few of them got as far: the others were refused.
            await victim.end()
            self.report.done["kills"] += 1
        for attempt in attempts:
            one = attempt.operation
            if not attempt.known:
                await self.insist(other, one.object, one.method, one.args, one.id)
        await victim.start()
        # Not only at the end: the next episode would hide what this one has left apart.
        rows = checks.read_journal(self.database)
        self.report.judge(checks.check_orders(self.database.orders(), rows))

    async def finish(self) -> None:
        self.report.done["kills"] = sum(times for name, times in self.report.done.items() if name.startswith("kills"))
