"""Calls that turns make: each is made once, however often the turn has to run."""

from __future__ import annotations

import asyncio
import itertools
import threading
from datetime import datetime
from typing import Any, ClassVar

import pytest

from jido_objects import DurableObject, ObjectException, Ref, ids, process
from jido_objects.errors import CallFailed
from jido_objects.host import Host
from jido_objects.models import Journal
from jido_objects.turns import Call
from tests.integration.strikes import struck

pytestmark = pytest.mark.usefixtures("database")


class Full(ObjectException):
    """Full with {0}."""


class Book(DurableObject):
    lines: list[str] = []

    def note(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)

    def stamp(self, at: datetime) -> int:
        self.lines.append(at.isoformat())
        return len(self.lines)

    def refuse(self, line: str) -> None:
        raise Full(len(self.lines))


class Script:
    """What the next runs of a ``Desk`` do, one entry each; the last one again and again."""

    def __init__(self) -> None:
        self.runs: list[list[tuple[str, str, str]]] = []
        self.ran = 0
        self.fails = 0

    def next(self) -> list[tuple[str, str, str]]:
        self.ran += 1
        return self.runs[min(self.ran, len(self.runs)) - 1]


script = Script()


class Desk(DurableObject):
    """Calls books as its script says, and counts the runs that were committed."""

    n: int = 0
    together: ClassVar[bool] = False

    async def work(self) -> list[Any]:
        self.n += 1
        steps = [self._step(*step) for step in script.next()]
        answers = await asyncio.gather(*steps) if self.together else [await step for step in steps]
        if script.ran <= script.fails:
            raise ConnectionError("the gateway is down")
        return answers

    async def _step(self, verb: str, key: str, line: str) -> Any:
        book = Book.at(key)
        if verb == "stamp":
            return await book.acall(Book.stamp, self.now())
        if verb == "cast":
            return ids.is_generated(book.cast(Book.note, line))
        try:
            return await book.acall(verb, line)
        except Full as full:
            return str(full)


class Till(Desk):
    pass


class Together(Desk):
    together = True


@pytest.fixture(autouse=True)
def fresh_script(database: str) -> None:
    script.runs, script.ran, script.fails = [[("note", "b", "x")]], 0, 0


def lines(key: str = "b") -> list[str]:
    found: list[str] = Book.at(key).get("lines")
    return found


def desk(own: bool, key: str = "d", cls: type[Desk] = Desk) -> Ref[Desk]:
    return cls.at(key).using(call_id="order-1" if own else ids.generate())


both_ids = pytest.mark.parametrize("own", [True, False], ids=["own id", "generated id"])
every_strike = pytest.mark.parametrize("how", ["refused", "lost", "landed"])


# ---------------------------------------------------------------- one id, several callers


@pytest.mark.parametrize("verb", ["note", "cast"])
def test_one_id_on_two_keys_and_two_types_makes_a_call_each(verb: str) -> None:
    script.runs = [[(verb, "b", "x")]]
    for cls, key in ((Desk, "ann"), (Desk, "bob"), (Till, "ann")):
        for _ in range(2):
            cls.at(key).using(call_id="order-1").call(Desk.work)
    assert Book.at("b").call(Book.note, "end") == 4


def test_one_id_used_for_other_arguments_elsewhere_is_no_reuse() -> None:
    script.runs = [[("note", "b", "1")], [("note", "b", "2")]]
    assert Desk.at("ann").using(call_id="order-1").call(Desk.work) == [1]
    assert Desk.at("bob").using(call_id="order-1").call(Desk.work) == [2]
    assert lines() == ["1", "2"]


@pytest.mark.parametrize("verb", ["note", "cast"])
def test_what_an_own_id_has_made_is_recorded_as_own(verb: str, database: str) -> None:
    script.runs = [[(verb, "b", "x")]]
    desk(True).call(Desk.work)
    assert Book.at("b").call(Book.note, "end") == 2
    rows = list(Journal.objects.using(database).filter(object__key="b").order_by("seq"))
    assert [row.own_id for row in rows] == [True, False]
    assert rows[0].call_id == ids.nested("order-1", Desk.at("d").label, "d", Book.at("b").label, "b", "note", "1")
    assert rows[0].call_id.startswith("order-1/")


def test_what_a_generated_id_has_made_is_no_own_id(database: str) -> None:
    desk(False).call(Desk.work)
    (row,) = Journal.objects.using(database).filter(object__key="b")
    assert not row.own_id
    assert ids.is_generated(row.call_id)


# ---------------------------------------------------------------- a turn that runs again


@both_ids
@pytest.mark.parametrize("restarted", [False, True])
def test_a_retry_finds_what_the_failed_run_has_called_though_its_arguments_differ(own: bool, restarted: bool) -> None:
    script.runs, script.fails = [[("stamp", "b", "")]], 2
    calling = desk(own)
    for _ in range(2):
        with pytest.raises(CallFailed, match="gateway"):
            calling.call(Desk.work)
        if restarted:
            process.stop()
    assert calling.call(Desk.work) == [1]
    assert script.ran == 3
    assert len(lines()) == 1


@both_ids
@every_strike
def test_a_turn_that_lost_its_activation_finds_what_it_has_called(own: bool, how: str) -> None:
    script.runs = [[("stamp", "b", ""), ("note", "c", "first")], [("stamp", "b", ""), ("note", "c", "second")]]
    Desk.at("d").call(Desk.work)
    assert (len(lines("b")), lines("c")) == (1, ["first"])
    script.ran = 0
    with struck(Desk.at("d").label, how) as strikes:
        assert desk(own).call(Desk.work) == [2, 2]
    assert strikes == [1]
    assert script.ran == (1 if how == "landed" else 2)
    assert (len(lines("b")), lines("c")) == (2, ["first", "first"])
    assert Desk.at("d").get("n") == 2


@both_ids
def test_calls_are_counted_by_object_and_method(own: bool) -> None:
    """What a run does elsewhere in between, or leaves out there, takes no number from its other calls."""
    script.fails = 1
    script.runs = [
        [("note", "b", "1"), ("note", "b", "2"), ("note", "c", "1")],
        [("note", "new", "1"), ("note", "c", "again"), ("stamp", "b", ""), *[("note", "b", "again")] * 2, ("note", "b", "3")],
    ]
    calling = desk(own)
    with pytest.raises(CallFailed):
        calling.call(Desk.work)
    assert calling.call(Desk.work) == [1, 1, 3, 1, 2, 4]
    assert lines()[:2] + lines()[3:] == ["1", "2", "3"]
    assert lines("c") == ["1"]


@both_ids
@pytest.mark.parametrize("order", list(itertools.permutations("bce"))[1:4], ids="".join)
def test_calls_made_together_find_their_answers_in_any_order(own: bool, order: tuple[str, ...]) -> None:
    script.fails = 1
    script.runs = [[("note", key, key) for key in "bce"] * 2, [("note", key, "again") for key in order] * 2]
    calling = desk(own, cls=Together)
    with pytest.raises(CallFailed):
        calling.call(Desk.work)
    assert calling.call(Desk.work) == [1, 1, 1, 2, 2, 2]
    assert [lines(key) for key in "bce"] == [["b"] * 2, ["c"] * 2, ["e"] * 2]


def test_a_nested_refusal_is_replayed() -> None:
    Book.at("b").call(Book.note, "one")
    script.runs, script.fails = [[("refuse", "b", "")], [("refuse", "b", "other")]], 1
    with pytest.raises(CallFailed):
        desk(True).call(Desk.work)
    Book.at("b").call(Book.note, "two")
    assert desk(True).call(Desk.work) == ["Full with 1."]
    with pytest.raises(Full, match="Full with 2"):
        Book.at("b").call(Book.refuse, "")


@both_ids
@every_strike
def test_a_cast_leaves_once_however_often_its_turn_runs(own: bool, how: str) -> None:
    script.runs = [[("cast", "b", "first"), ("cast", "b", "first")], [("cast", "b", "second"), ("cast", "b", "second")]]
    with struck(Desk.at("d").label, how) as strikes:
        desk(own).call(Desk.work)
    assert len(strikes) == 1
    Book.at("b").call(Book.note, "end")
    assert lines() == (["first"] * 2 if how == "landed" else ["second"] * 2) + ["end"]


@both_ids
def test_a_cast_of_a_turn_that_failed_does_not_leave(own: bool) -> None:
    script.runs, script.fails = [[("cast", "b", "first")], [("cast", "b", "second")]], 1
    calling = desk(own)
    with pytest.raises(CallFailed):
        calling.call(Desk.work)
    calling.call(Desk.work)
    Book.at("b").call(Book.note, "end")
    assert lines() == ["second", "end"]


def test_what_a_turn_casts_comes_before_what_its_caller_does_next(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []
    run_after, answer = Host.run_after, Call.answer

    def running(self: Host, action: Any) -> None:
        left.append("cast")
        run_after(self, action)

    def answering(self: Call, result: Any) -> None:
        left.append(self.method.name)
        answer(self, result)

    monkeypatch.setattr(Host, "run_after", running)
    monkeypatch.setattr(Call, "answer", answering)
    script.runs = [[("cast", "b", "1"), ("cast", "b", "2")]]
    desk(True).call(Desk.work)
    assert left[:3] == ["cast", "cast", "work"]


def test_many_that_share_an_id_and_a_book_are_as_many_calls() -> None:
    answers: list[int] = []

    def order(key: int) -> None:
        answers.extend(Desk.at(key).using(call_id="order-1").call(Desk.work))

    threads = [threading.Thread(target=order, args=(key,)) for key in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(1, 13))


@pytest.mark.parametrize("parent", ["x" * 200, "é" * 100, "x" + "é" * 99, "😀" * 50])
def test_the_ids_of_long_ids_are_ids(parent: str) -> None:
    nested = ids.nested(parent, "a")
    assert ids.check(nested) == nested
    assert ids.nested(nested, "a") not in (nested, parent)
    assert ids.nested(parent[:-1] + "y", "a") != nested
    assert Book.at("b").using(call_id=parent).call(Book.note, "x") == 1
    assert Desk.at("d").using(call_id=parent).call(Desk.work) == [2]
    assert Desk.at("d").using(call_id=parent).call(Desk.work) == [2]
