"""What both type checkers must refuse: an ignore that is not needed is an error. Checked by ``test_typing.py``, never run."""

from __future__ import annotations

from typing import Any

from jido_objects import DurableObject, Ref, Transient, creates, expose, migrates, query


class Sale(DurableObject):
    stock: int = 100
    seen: Transient[int] = 0

    @expose
    def reserve(self, buyer: str, n: int = 1) -> int:
        self.seen = "one"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        self.stock = None  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        return self.stock

    async def pay(self, buyer: str, *, card: str) -> bool:
        return bool(card)

    @query
    def left(self, plus: int) -> int:
        return self.stock + plus


class Account(DurableObject):
    owner: str = ""

    @creates
    def open(self, owner: str) -> bool:
        return bool(owner)

    @migrates(from_version="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    @staticmethod
    def to_2(state: dict[str, Any]) -> dict[str, Any]:
        return state

    # A migration returns the document, and takes nothing else.
    @migrates(from_version=2)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
    @staticmethod
    def to_3(state: dict[str, Any]) -> None: ...

    @migrates(from_version=3)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
    def to_4(self, state: dict[str, Any]) -> dict[str, Any]:
        return state


class Room(DurableObject):
    def say(self, text: str) -> None: ...


def calls(sale: Ref[Sale]) -> None:
    # The type of an argument.
    sale.call(Sale.reserve, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    sale.call(Sale.reserve, "ann", "2")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    sale.call(Sale.left, plus="1")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    # Arguments that are missing, unknown or too many.
    sale.call(Sale.reserve)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    sale.call(Sale.pay, "ann")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    sale.call(Sale.reserve, "ann", m=1)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    sale.call(Sale.reserve, "ann", 1, 2)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    sale.cast(Sale.pay, "ann")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    # A method of another class, and no method at all.
    sale.call(Room.say, "hello")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    sale.call(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    # A result is what the method returns, not a coroutine, and not something else.
    wrong: str = sale.call(Sale.reserve, "ann")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(wrong)


def existence(account: Ref[Account]) -> None:
    account.call(Account.open)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    account.call(Account.to_2, {})  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def async_calls(sale: Ref[Sale]) -> None:
    await sale.acall(Sale.reserve, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await sale.acall(Sale.reserve)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await sale.acall(Sale.pay, "ann")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await sale.acall(Room.say, "hello")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    wrong: str = await sale.acall(Sale.reserve, "ann")  # type: ignore[call-overload]  # pyright: ignore[reportAssignmentType]
    print(wrong)


def options(sale: Ref[Sale]) -> None:
    sale.using(timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sale.using(tmeout=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    sale.using(5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    # Options are not the method's own keywords.
    sale.call(Sale.reserve, "ann", timeout=5)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    other: Ref[Room] = Sale.at("tour")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(other)
