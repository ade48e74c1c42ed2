from __future__ import annotations

import asyncio
from datetime import datetime

from asgiref.sync import async_to_sync, sync_to_async

from jido_objects import DurableObject, ObjectException, Ref, Transient, query
from shop.models import Order


class Never(ObjectException):
    """Never {0}."""


class Counter(DurableObject):
    value: int = 0
    born: bool = False
    seen: Transient[int] = 0

    def on_create(self) -> None:
        self.born = True

    def add(self, n: int = 1) -> int:
        self.value += n
        return self.value

    def look(self) -> int:
        self.seen += 1
        return self.seen

    def fail(self) -> None:
        self.value = 1000
        raise ValueError("out of cheese")

    def refuse(self) -> None:
        raise Never(7)

    def moment(self) -> datetime:
        return self.now()

    @query
    def doubled(self) -> int:
        return self.value * 2

    async def pass_on(self, other: Ref[Counter]) -> int:
        self.value += 1
        return await other.acall(Counter.add, 10)

    def throw(self, other: Ref[Counter]) -> None:
        self.value += 1
        other.cast(Counter.add, 5)

    async def nap(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        self.value += 1
        return self.value

    async def order(self, buyer: str) -> int:
        await Order.objects.acreate(buyer=buyer)
        self.value += 1
        return await Order.objects.acount()

    def order_here(self, buyer: str) -> None:
        Order.objects.create(buyer=buyer)

    async def order_with_bridge(self, buyer: str) -> str:
        def work() -> str:
            Order.objects.create(buyer=buyer)
            return async_to_sync(_echo)(buyer)

        return await sync_to_async(work)()

    async def ask_itself(self, other: Ref[Counter]) -> bool:
        return await sync_to_async(other.exists)()


async def _echo(text: str) -> str:
    await asyncio.sleep(0)
    return text
