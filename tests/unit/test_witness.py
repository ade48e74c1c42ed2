"""The witness finds every kind of broken promise in histories made by hand, and nothing in those that are right."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import pytest

from tests.sim.witness import (
    KINDS,
    Event,
    Operation,
    Outcome,
    Row,
    SnapshotRow,
    Step,
    Violation,
    check,
    check_events,
    check_journal,
)


class CounterModel:
    """``add(n)`` adds, ``no`` refuses, ``keep`` changes nothing, ``look`` reads."""

    def initial(self) -> dict[str, Any]:
        return {"value": 0}

    def step(self, state: dict[str, Any], method: str, args: list[Any]) -> Step:
        value = state["value"]
        if method == "add":
            return Step({"value": value + args[0]}, [value + args[0]])
        return Step(state, [value], refused=method == "no")

    def writes(self, method: str) -> bool:
        return method == "add"

    def recorded(self, method: str) -> bool:
        return method != "look"


MODEL = CounterModel()


class History:
    """Callers and a journal that are right, until a test spoils them."""

    def __init__(self) -> None:
        self.now = 0
        self.value = 0
        self.operations: list[Operation] = []
        self.rows: list[Row] = []

    def tick(self) -> int:
        self.now += 1
        return self.now

    def call(
        self, method: str, *args: int, own: bool = False, call_id: str = "", outcome: Outcome = Outcome.OK, row: bool | None = None
    ) -> Operation:
        """One call after the other: made, committed if it writes, answered."""
        call_id = call_id or f"c{self.now}"
        invoked, seq = self.tick(), len(self.rows)
        if row is None:
            recorded = own and method != "look" and not (method == "no" and seq == 0)
            row = (method == "add" or recorded) and outcome is not Outcome.NOT_APPLIED
        if method == "add" and row:
            self.value += args[0]
        refused = method == "no"
        if row:
            delta = f'[["set","value",{self.value}]]' if method == "add" else "[]"
            self.rows.append(Row("k", seq + 1, 1, call_id, refused, own, method, seq, [self.value], delta))
        done = outcome in (Outcome.OK, Outcome.REFUSED)
        operation = Operation(
            "k", call_id, method, list(args), own, invoked, self.tick() if outcome is not Outcome.UNKNOWN else None,
            Outcome.REFUSED if refused and done else outcome, seq if done else None, [self.value] if done else None,
        )  # fmt: skip
        self.operations.append(operation)
        return operation

    def kinds(self) -> set[str]:
        return {violation.kind for violation in [*check(self.operations, self.rows, MODEL), *check_journal(self.rows, (), MODEL)]}


@pytest.fixture
def history() -> History:
    """Some of everything, all of it right."""
    made = History()
    made.call("look")
    made.call("no", own=True)
    made.call("add", 5)
    made.call("look")
    made.call("add", 2, own=True)
    made.call("no", own=True)
    made.call("keep", own=True)
    made.call("keep")
    made.call("add", 9, outcome=Outcome.UNKNOWN)
    made.call("add", 4, outcome=Outcome.UNKNOWN, row=False)
    made.call("add", 7, outcome=Outcome.NOT_APPLIED)
    made.call("look")
    return made


def test_a_right_history_passes(history: History) -> None:
    assert history.kinds() == set()


def test_a_lost_write(history: History) -> None:
    history.operations.append(Operation("k", "lost", "add", [1], False, history.tick(), history.tick(), Outcome.OK, 5, [17]))
    assert history.kinds() == {"lost"}


def test_an_answer_that_names_another_place(history: History) -> None:
    history.operations[2].saw = 1
    assert history.kinds() == {"misplaced"}


def test_an_answer_with_another_result(history: History) -> None:
    history.operations[2].result = [6]
    assert history.kinds() == {"misplaced"}


def test_a_call_that_was_not_applied_and_is_there(history: History) -> None:
    history.operations[8].outcome = Outcome.NOT_APPLIED
    assert history.kinds() == {"applied"}


def test_not_applied_is_no_promise_while_another_attempt_is_unknown(history: History) -> None:
    history.operations.append(replace(history.operations[8], outcome=Outcome.NOT_APPLIED, invoked=history.tick(), completed=history.tick()))
    assert history.kinds() == set()


def test_an_own_id_without_a_row(history: History) -> None:
    history.operations.append(Operation("k", "order", "keep", [], True, history.tick(), history.tick(), Outcome.OK, 5, [16]))
    assert history.kinds() == {"unrecorded"}


def test_a_call_applied_twice(history: History) -> None:
    again = history.call("add", 5)
    history.rows[-1].call_id = history.rows[0].call_id
    history.operations.remove(again)
    assert "double" in history.kinds()


def test_a_row_that_nobody_asked_for(history: History) -> None:
    history.operations.remove(history.call("add", 5))
    assert history.kinds() == {"phantom"}


def test_a_read_of_something_else(history: History) -> None:
    history.operations[3].result = [6]
    assert history.kinds() == {"wrong"}


def test_a_row_that_recorded_something_else(history: History) -> None:
    history.rows[1].result = history.operations[4].result = [8]
    assert history.kinds() == {"wrong"}


def test_a_read_of_what_was_never_committed(history: History) -> None:
    history.operations[-1].saw = 9
    assert history.kinds() == {"future"}


def test_a_stale_read(history: History) -> None:
    operation = history.operations[-1]
    operation.saw, operation.result = 1, [5]
    assert history.kinds() == {"stale"}
    operation.stale_allowed = True
    assert history.kinds() == set()


def test_a_read_may_see_either_of_what_happens_beside_it(history: History) -> None:
    operation = history.operations[-1]
    operation.invoked, operation.saw, operation.result = 0.5, 0, [0]
    assert history.kinds() == set()


def test_a_guessed_place_binds_nobody_else(history: History) -> None:
    history.operations[3].guessed = True
    history.operations[3].saw = 1
    history.operations[2].completed = None
    history.operations[2].outcome = Outcome.UNKNOWN
    history.operations[4].invoked = history.operations[3].invoked
    assert history.kinds() == set()


def test_a_write_that_comes_before_what_its_caller_knew(history: History) -> None:
    # Two writes, one after the other for their callers, the other way round in the journal.
    first, second = history.call("add", 1), history.call("add", 2)
    first.invoked, first.completed, second.invoked, second.completed = second.invoked, second.completed, first.invoked, first.completed
    assert history.kinds() == {"overtaken"}


def test_an_unanswered_write_that_comes_before_what_its_caller_knew(history: History) -> None:
    history.operations[8].invoked = history.now + 1
    assert history.kinds() == {"overtaken"}


def test_a_gap(history: History) -> None:
    history.rows[3].seq += 1
    assert "gap" in history.kinds()


def test_a_journal_that_begins_in_the_middle_needs_a_snapshot(history: History) -> None:
    rows = history.rows[2:]
    assert [violation.kind for violation in check_journal(rows)] == ["gap"]
    assert check_journal(rows, [SnapshotRow("k", 2, '{"value":7}')]) == []


def test_an_epoch_that_goes_back(history: History) -> None:
    history.rows[1].epoch = 2
    assert history.kinds() == {"epoch"}


def test_a_delta_that_leads_elsewhere(history: History) -> None:
    history.rows[0].delta = '[["set","value",4]]'
    assert "replay" in history.kinds()


def test_a_delta_that_cannot_be_replayed(history: History) -> None:
    history.rows[0].delta = '[["put","nothing","x",4]]'
    assert "replay" in history.kinds()


def test_a_snapshot_that_is_not_the_state(history: History) -> None:
    def found(snapshot: SnapshotRow) -> list[str]:
        return [violation.kind for violation in check_journal(history.rows, [snapshot], MODEL)]

    assert found(SnapshotRow("k", 2, '{"value":7}')) == []
    assert found(SnapshotRow("k", 2, '{"value":5}')) == ["snapshot"]
    assert found(SnapshotRow("k", 9, '{"value":5}')) == ["snapshot"]


def buried(term: str) -> Event:
    return Event("buried", term)


def claimed(term: str, epoch: int) -> Event:
    return Event("claimed", term, "k", epoch)


def appended(term: str, epoch: int, seq: int) -> Event:
    return Event("appended", term, "k", epoch, (seq, seq))


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([buried("a"), appended("a", 1, 2)], "buried"),
        ([buried("a"), claimed("a", 2)], "buried"),
        ([claimed("b", 2)], "owners"),
        ([buried("a"), claimed("b", 1)], "superseded"),
        ([claimed("a", 2), appended("a", 1, 2)], "superseded"),
        ([buried("a"), claimed("b", 2), appended("c", 2, 2)], "superseded"),
        ([appended("a", 1, 2), buried("a"), claimed("b", 2), appended("b", 2, 3)], None),
        ([claimed("a", 2), appended("a", 2, 2)], None),
    ],
)
def test_the_log_of_the_database(events: list[Event], kind: str | None) -> None:
    start = [Event("term", "a"), Event("term", "b"), Event("term", "c"), Event("created", "a", "k", 1), appended("a", 1, 1)]
    assert check_events(start) == []
    assert {violation.kind for violation in check_events([*start, *events])} == ({kind} if kind else set())


def test_objects_are_judged_each_for_itself() -> None:
    one, other = History(), History()
    one.call("add", 1)
    other.call("add", 2)
    for operation in other.operations:
        operation.object = "other"
    for row in other.rows:
        row.object = "other"
    assert check([*one.operations, *other.operations], [*one.rows, *other.rows], MODEL) == []
    assert {violation.object for violation in check(one.operations, [*one.rows, *other.rows], MODEL)} == {"other"}


def test_every_kind_has_a_description() -> None:
    assert str(Violation("gap", "k", "row 3 comes after 1")) == "gap: k: row 3 comes after 1"
    assert all(KINDS.values())


def test_many_operations_take_a_moment() -> None:
    made = History()
    rng = random.Random(1)
    for _ in range(5_000):
        made.call(rng.choice(("add", "look", "keep")), 1)
    began = time.perf_counter()
    assert check(made.operations, made.rows, MODEL) == []
    few = time.perf_counter() - began
    for _ in range(45_000):
        made.call(rng.choice(("add", "look", "keep")), 1)
    began = time.perf_counter()
    assert check(made.operations, made.rows, MODEL) == []
    # Ten times the operations: far from the hundred times of a quadratic check.
    assert time.perf_counter() - began < 35 * few
