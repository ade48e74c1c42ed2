"""What both type checkers must accept, and the types they must see. Checked by ``test_typing.py``, never run."""

from __future__ import annotations

import asyncio
from typing import Any, assert_type

from jido_objects import DurableObject, ObjectException, Ref, Transient, creates, expose, migrates, query
from jido_objects.errors import AlreadyExists, DoesNotExist


class SoldOut(ObjectException):
    """Only {0} left."""


class Sale(DurableObject):
    stock: int = 100
    holds: dict[str, int] = {}
    seen: Transient[int] = 0
    friend: Ref[Sale] | None = None

    @expose
    def reserve(self, buyer: str, n: int = 1) -> int:
        assert_type(self.stock, int)
        assert_type(self.holds, dict[str, int])
        assert_type(self.seen, int)
        assert_type(self.friend, Ref[Sale] | None)
        assert_type(self.key, str)
        assert_type(self.key_parts, tuple[str, ...])
        assert_type(self.seq, int)
        assert_type(self.turn.user_id, int | str | None)
        if n > self.stock:
            raise SoldOut(self.stock)
        self.stock -= n
        assert_type(self.schedule("close", after=1), str)
        assert_type(self.schedule(Sale.close, every="0 9 * * *", zone="UTC"), str)
        assert_type(self.unschedule("x"), bool)
        assert_type(self.send(self.ref, Sale.close), str)
        self.seen += 1
        return self.stock

    async def pay(self, buyer: str, *, card: str) -> bool:
        await asyncio.sleep(0)
        return bool(card)

    @query
    def left(self) -> int:
        return self.stock

    @query
    async def rows(self, first: int, *rest: int) -> list[str]:
        return [str(number) for number in (first, *rest)]

    def label(self, /, **words: str) -> str:
        return " ".join(words)

    def close(self) -> None: ...


class Account(DurableObject):
    owner: str = ""

    @creates
    def open(self, owner: str) -> bool:
        self.owner = owner
        return True

    @creates
    async def take_over(self, owner: str) -> str:
        await asyncio.sleep(0)
        return owner

    @migrates(from_version=1)
    @staticmethod
    def to_2(state: dict[str, Any]) -> dict[str, Any]:
        state["owner"] = state.pop("name")
        return state

    @staticmethod
    @migrates(from_version=2)
    def to_3(state: dict[str, Any]) -> dict[str, Any]:
        return state

    class Meta:
        version = 3
        aliases = ("shop.Wallet",)


class EarlySale(Sale):
    def open_early(self) -> float:
        return 0.5


def from_sync_code(sale: Ref[Sale]) -> None:
    assert_type(sale.call(Sale.reserve, "ann"), int)
    assert_type(sale.call(Sale.reserve, "ann", n=2), int)
    assert_type(sale.call(Sale.reserve, buyer="ann"), int)
    assert_type(sale.call(Sale.pay, "ann", card="4242"), bool)
    assert_type(sale.call(Sale.left), int)
    assert_type(sale.call(Sale.rows, 1, 2, 3), list[str])
    assert_type(sale.call(Sale.label, a="b"), str)
    sale.call(Sale.close)
    assert_type(sale.call("reserve", "ann"), Any)
    assert_type(sale.cast(Sale.reserve, "ann"), str)
    assert_type(sale.cast(Sale.pay, "ann", card="4242"), str)
    assert_type(sale.send(Sale.pay, "ann", card="4242"), str)
    assert_type(sale.send("reserve", "ann"), str)
    assert_type(sale.cast("reserve", "ann"), str)
    assert_type(sale.get("stock"), Any)
    assert_type(sale.peek(), dict[str, Any] | None)
    assert_type(sale.exists(), bool)


async def from_async_code(sale: Ref[Sale]) -> None:
    assert_type(await sale.acall(Sale.reserve, "ann"), int)
    assert_type(await sale.acall(Sale.reserve, "ann", n=2), int)
    assert_type(await sale.acall(Sale.pay, "ann", card="4242"), bool)
    assert_type(await sale.acall(Sale.left), int)
    assert_type(await sale.acall(Sale.rows, 1, 2, 3), list[str])
    await sale.acall(Sale.close)
    assert_type(await sale.acall("reserve", "ann"), Any)
    assert_type(await sale.acast(Sale.pay, "ann", card="4242"), str)
    assert_type(await sale.asend(Sale.reserve, "ann"), str)
    assert_type(await sale.aget("stock"), Any)
    assert_type(await sale.apeek(), dict[str, Any] | None)
    assert_type(await sale.aexists(), bool)
    assert_type(await asyncio.gather(sale.acall(Sale.reserve, "ann"), sale.acall(Sale.pay, "b", card="")), tuple[int, bool])


def refs() -> None:
    sale = Sale.at("tour", 2027)
    assert_type(sale, Ref[Sale])
    assert_type(sale.using(timeout=5, call_id="order-42", user=7, confirmed=True), Ref[Sale])
    assert_type(sale.using(timeout=5).call(Sale.reserve, "ann"), int)
    assert_type(sale.key, str)
    assert_type(sale.label, str)
    assert_type(sale.key_parts, tuple[str, ...])
    # A subclass has its base's methods.
    assert_type(EarlySale.at("tour"), Ref[EarlySale])
    assert_type(EarlySale.at("tour").call(Sale.reserve, "ann"), int)
    assert_type(EarlySale.at("tour").call(EarlySale.open_early), float)


def errors() -> None:
    try:
        Sale.at("tour").call(Sale.reserve, "ann")
    except SoldOut as refusal:
        assert_type(refusal.applied, bool | None)
        assert_type(refusal.retryable, bool)
        assert_type(refusal.call_id, str | None)


def existence(account: Ref[Account]) -> None:
    assert_type(account.call(Account.open, "ann"), bool)
    assert_type(account.call(Account.take_over, "ann"), str)
    assert_type(Account.to_2({"name": "ann"}), dict[str, Any])
    assert_type(Account.to_3({}), dict[str, Any])
    try:
        account.call(Account.open, "ann")
    except Account.AlreadyExists as there:
        assert_type(there, AlreadyExists)
        assert_type(there.call_id, str | None)
    except (Account.DoesNotExist, EarlySale.DoesNotExist) as absent:
        assert_type(absent, DoesNotExist)
    except DoesNotExist:
        pass
    assert_type(Account.DoesNotExist, type[DoesNotExist])
