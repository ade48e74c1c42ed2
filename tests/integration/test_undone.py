"""An ``async`` turn whose activation is lost while it runs: what is left of it lets nothing out, and the run after it does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from jido_objects import DurableObject, Ref, ids
from jido_objects.errors import StateError
from jido_objects.models import Journal
from tests.integration.strikes import on_host, wait_for

pytestmark = pytest.mark.usefixtures("database")

WAYS = ["acall", "acast", "cast", "aget", "call", "later"]


class Tally(DurableObject):
    n: int = 0

    def add(self) -> int:
        self.n += 1
        return self.n

    async def slowly(self) -> int:
        self.n += 1
        story.nested += 1
        while not story.released:
            await asyncio.sleep(0.005)
        return self.n


class Story:
    """What the runs of a ``Job`` did."""

    runs = nested = 0
    released = False
    refused: list[BaseException]
    told: list[Any]


story = Story()


class Job(DurableObject):
    n: int = 0

    async def work(self, tally: Ref[Tally], way: str) -> int:
        """The first run waits until it is undone, and then goes on as long as it can."""
        self.n += 1
        story.runs += 1
        first = story.runs == 1
        try:
            if first:
                await asyncio.sleep(30)
        finally:
            try:
                await self._out(tally, way)
                story.told.append("out")
            except StateError as error:
                story.refused.append(error)
            if first:
                # Into memory that nobody believes any more.
                self.n = 77
        return self.n

    async def _out(self, tally: Ref[Tally], way: str) -> None:
        if way == "acall":
            await tally.acall(Tally.add)
        elif way == "acast":
            await tally.acast(Tally.add)
        elif way == "cast":
            tally.cast(Tally.add)
        elif way == "aget":
            await tally.aget("n")
        elif way == "later":
            await asyncio.gather(self._add_later(tally), self._add_later(Tally.at("other")))
        elif story.runs == 1:
            tally.call(Tally.add)

    async def _add_later(self, tally: Ref[Tally]) -> None:
        await asyncio.sleep(0.001)
        await tally.acall(Tally.add)

    async def through(self, tally: Ref[Tally]) -> list[int]:
        """Waits for a call of its own when it is undone."""
        self.n += 1
        story.runs += 1
        return [self.n, await tally.acall(Tally.slowly)]


@pytest.fixture(autouse=True)
def fresh_story(database: str) -> Iterator[None]:
    story.runs = story.nested = 0
    story.released = False
    story.refused, story.told = [], []
    yield
    story.released = True


def calling(ref: Ref[Job], *args: Any) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(ref.call(*args)))
    thread.start()
    return thread, answers


def lose(key: str) -> None:
    """What is in memory of a job is not believed any more."""
    on_host(lambda host: host.drop(host.activations[Job.at("x").label, key], "for the test"))


@pytest.mark.parametrize("own", [True, False], ids=["own id", "generated id"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_left_of_a_turn_lets_nothing_out(way: str, own: bool) -> None:
    tally = Tally.at("t")
    thread, answers = calling(Job.at("j").using(call_id="w" if own else ids.generate()), Job.work, tally, way)
    wait_for(lambda: story.runs == 1)
    lose("j")
    thread.join(20)
    assert answers == [1]
    assert story.runs == 2
    assert [type(error) for error in story.refused] == [StateError]
    assert "rolled back" in str(story.refused[0])
    assert story.told == ["out"]
    expected = 0 if way in ("aget", "call") else 1
    assert Tally.at("t").call(Tally.add) == expected + 1
    assert Tally.at("other").get("n") == (1 if way == "later" else 0)
    assert Job.at("j").get("n") == 1


def test_a_call_that_was_under_way_is_made_once(database: str) -> None:
    tally = Tally.at("t")
    thread, answers = calling(Job.at("j"), Job.through, tally)
    wait_for(lambda: story.nested == 1)
    lose("j")
    wait_for(lambda: story.runs == 2)
    story.released = True
    thread.join(20)
    assert answers == [[1, 1]]
    assert story.nested == 1
    assert Journal.objects.using(database).filter(object__key="t").count() == 1


def test_a_call_that_had_not_begun_is_made_once(database: str) -> None:
    tally = Tally.at("t")
    other, others = calling(Job.at("other"), Job.through, tally)
    wait_for(lambda: story.nested == 1)
    thread, answers = calling(Job.at("j"), Job.through, tally)
    wait_for(lambda: on_host(lambda host: len(host.activations[tally.label, "t"].mailbox)) == 1)
    lose("j")
    wait_for(lambda: story.runs == 3)
    story.released = True
    thread.join(20)
    other.join(20)
    assert (others, answers) == ([[1, 1]], [[1, 2]])
    assert story.nested == 2


def test_what_a_failed_turn_left_running_lets_nothing_out() -> None:
    class Leaver(DurableObject):
        async def go(self) -> None:
            self_ref = Tally.at("t")

            async def later() -> None:
                await asyncio.sleep(0.01)
                try:
                    await self_ref.acall(Tally.add)
                except StateError as error:
                    story.refused.append(error)

            story.told.append(asyncio.create_task(later()))
            raise ValueError("leaves")

    with pytest.raises(Exception, match="leaves"):
        Leaver.at("l").call(Leaver.go)
    wait_for(lambda: story.refused)
    assert Tally.at("t").peek() is None
