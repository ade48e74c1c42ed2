"""The objects of ``overload``."""

from __future__ import annotations

import asyncio

from jido_objects import DurableObject


class Hot(DurableObject):
    done: int = 0

    async def work(self) -> int:
        self.done += 1
        await asyncio.sleep(0.001)
        return self.done

    class Meta:
        label = "proof.Hot"


class Bystander(DurableObject):
    value: int = 0

    def add(self) -> int:
        self.value += 1
        return self.value

    class Meta:
        label = "proof.Bystander"
