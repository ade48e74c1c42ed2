"""``@creates``: objects that one method makes, and that are not there before it did."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from jido_objects import DurableObject, ObjectException, creates, errors, models, query
from jido_objects.definition import Definition
from jido_objects.errors import CallFailed, CallIdReused
from jido_objects.stores.opening import open_store
from tests.deploys import hosting, send


@pytest.fixture(autouse=True, scope="module")
def _registry() -> Any:
    yield
    for one in (Account, Saving, Bare, Open):
        Definition.registry.pop(one._jido_definition.label, None)


class Blocked(ObjectException):
    """{0} is blocked."""


class Account(DurableObject):
    owner: str = ""
    balance: int = 0
    born: int = 0

    def on_create(self) -> None:
        self.born += 1

    @creates
    def open(self, owner: str) -> str:
        if owner == "eve":
            raise Blocked(owner)
        if owner == "bug":
            raise ValueError(owner)
        self.owner = owner
        return f"opened for {owner}"

    @creates
    async def take_over(self, owner: str) -> str:
        await asyncio.sleep(0)
        self.owner = owner
        return f"taken over by {owner}"

    def pay(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    @query
    def worth(self) -> int:
        return self.balance

    class Meta:
        label = "existence.Account"


class Saving(Account):
    class Meta:
        label = "existence.Saving"


class Bare(DurableObject):
    """Its creation changes nothing."""

    n: int = 7

    @creates
    def make(self) -> None: ...

    class Meta:
        label = "existence.Bare"


class Open(DurableObject):
    n: int = 0

    def add(self) -> int:
        self.n += 1
        return self.n

    class Meta:
        label = "existence.Open"


def rows(alias: str, key: str) -> list[tuple[int, str, str | None]]:
    found = models.Journal.objects.using(alias).filter(object__key=key).order_by("seq")
    return [(row.kind, row.delta, row.result) for row in found]


def test_only_what_creates_creates(database: str) -> None:
    account = Account.at("a")
    for attempt in (
        lambda: account.call(Account.pay, 5),
        lambda: account.using(call_id="pay-1").call(Account.pay, 5),
        lambda: account.call(Account.worth),
        lambda: account.get("balance"),
        lambda: account.get("worth"),
    ):
        with pytest.raises(Account.DoesNotExist, match=r"existence\.Account\('a'\) does not exist\. Create it first") as caught:
            attempt()
        assert type(caught.value) is Account.DoesNotExist
        assert (caught.value.applied, caught.value.retryable, caught.value.args) == (False, False, ("existence.Account('a')",))
    assert not account.exists()
    assert account.peek() is None
    assert rows(database, "a") == []

    assert account.call(Account.open, "ann") == "opened for ann"
    assert account.exists()
    assert account.peek() == {"owner": "ann", "balance": 0, "born": 1}
    # What was refused while it was not there is remembered by nobody.
    assert account.using(call_id="pay-1").call(Account.pay, 5) == 5
    assert account.get("worth") == 5
    for creating in (lambda: account.call(Account.open, "bob"), lambda: account.call(Account.take_over, "bob")):
        with pytest.raises(Account.AlreadyExists, match=r"existence\.Account\('a'\) exists already") as caught:
            creating()
        assert type(caught.value) is Account.AlreadyExists
    assert account.peek() == {"owner": "ann", "balance": 5, "born": 1}
    assert len(rows(database, "a")) == 2


def test_an_asynchronous_method_creates_and_one_that_changes_nothing_too(database: str) -> None:
    assert Account.at("b").call(Account.take_over, "ann") == "taken over by ann"
    assert Bare.at("c").call(Bare.make) is None
    assert Bare.at("c").exists()
    assert rows(database, "c") == [(1, '[["set","n",7]]', "null")]
    with pytest.raises(Bare.AlreadyExists):
        Bare.at("c").call(Bare.make)


@pytest.mark.parametrize("owner", ["eve", "bug"])
def test_a_creating_call_that_fails_creates_nothing(database: str, owner: str) -> None:
    account = Account.at("d")
    for call_id in (None, "one"):
        with pytest.raises((Blocked, CallFailed)):
            account.using(call_id=call_id).call(Account.open, owner)
        assert not account.exists()
        with pytest.raises(Account.DoesNotExist):
            account.call(Account.pay, 1)
    assert account.call(Account.open, "ann") == "opened for ann"


def test_a_retry_gets_what_was_recorded(database: str) -> None:
    account = Account.at("e")
    mine, late = account.using(call_id="order-1"), account.using(call_id="order-2")
    for _ in range(3):
        assert mine.call(Account.open, "ann") == "opened for ann"
    with pytest.raises(CallIdReused):
        mine.call(Account.open, "bob")
    for _ in range(2):
        with pytest.raises(Account.AlreadyExists):
            late.call(Account.open, "ann")
    # Under a caller's own id the refusal is recorded.
    assert [kind for kind, _, _ in rows(database, "e")] == [1, 2]


def test_what_was_recorded_outlives_the_process_that_created(database: str) -> None:
    async def main() -> None:
        async with hosting(open_store(database)) as host:
            assert await send(host, Account.at("f"), "open", "ann", call_id="x") == "opened for ann"
        async with hosting(open_store(database)) as host:
            assert await send(host, Account.at("f"), "open", "ann", call_id="x") == "opened for ann"
            with pytest.raises(Account.AlreadyExists):
                await send(host, Account.at("f"), "open", "ann", call_id="y")
            # Thawed from the journal, and sent again to a third.
            assert await send(host, Account.at("f"), "pay", 1) == 1
        async with hosting(open_store(database)) as host:
            with pytest.raises(Account.AlreadyExists):
                await send(host, Account.at("f"), "open", "ann", call_id="y")

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("landed", [True, False])
def test_a_creation_of_unknown_outcome_is_answered_by_what_became_of_it(database: str, landed: bool) -> None:
    async def main() -> None:
        async with hosting(open_store(database)) as host:
            await host.term()
            writer = host.pipeline._writer
            real, struck = writer.append, []

            async def append(batch: Any) -> Any:
                if struck:
                    return await real(batch)
                struck.append(1)
                if landed:
                    await real(batch)
                raise ZeroDivisionError("the reply is lost")

            writer.append = append  # type: ignore[method-assign]
            first = send(host, Account.at("g"), "open", "ann")
            after = send(host, Account.at("g"), "pay", 3)
            assert await first == "opened for ann"
            assert await after == 3

    asyncio.run(asyncio.wait_for(main(), 30))
    assert [kind for kind, _, _ in rows(database, "g")] == [1, 1]


def test_of_two_at_once_one_creates(database: str) -> None:
    async def main() -> None:
        async with hosting(open_store(database)) as host:
            calls = [send(host, Account.at("h"), "open", str(n)) for n in range(3)]
            outcomes = await asyncio.gather(*calls, send(host, Account.at("h"), "worth", get=True), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [str, Account.AlreadyExists, Account.AlreadyExists, int]

    asyncio.run(asyncio.wait_for(main(), 30))


def test_other_types_are_created_by_their_first_write(database: str) -> None:
    assert Open.at("i").get("n") == 0
    assert Open.at("i").call(Open.add) == 1
    assert not Open._jido_definition.creators


# ---------------------------------------------------------------- the exceptions


def test_each_type_has_exceptions_of_its_own() -> None:
    assert issubclass(Saving.DoesNotExist, Account.DoesNotExist)
    assert issubclass(Account.DoesNotExist, errors.DoesNotExist)
    assert issubclass(errors.DoesNotExist, ObjectException)
    assert not issubclass(Account.DoesNotExist, Saving.DoesNotExist)
    assert not issubclass(Open.DoesNotExist, Account.DoesNotExist)
    assert Open.AlreadyExists is not Account.AlreadyExists
    error = pickle.loads(pickle.dumps(Saving.AlreadyExists("x")))
    assert type(error) is Saving.AlreadyExists
    assert str(error).startswith("x exists already")
    assert str(Account.DoesNotExist("x")).startswith("x does not exist")


def test_marks_that_say_nothing() -> None:
    with pytest.raises(errors.DefinitionError, match=r"Bad\.look is marked @query and @creates"):

        class Bad(DurableObject):
            @creates
            @query
            def look(self) -> None: ...

    for name in ("_open", "on_create"):
        with pytest.raises(errors.DefinitionError, match=f"Worse.{name} cannot be called"):
            type("Worse", (DurableObject,), {"__module__": __name__, name: creates(lambda self: None)})


def test_the_names_stay_reserved() -> None:
    for name in ("AlreadyExists", "DoesNotExist"):
        with pytest.raises(errors.DefinitionError, match=f"{name}.*belongs to DurableObject"):
            type("Bad", (DurableObject,), {"__module__": __name__, name: type(name, (ObjectException,), {})})
