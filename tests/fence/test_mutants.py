"""The fence with one stone taken out: each mutant of the SQL must be caught by the race that guards that stone.

A mutant that nobody catches would mean that its race tests nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from jido_objects.errors import StoreUnavailable
from jido_objects.stores import postgresql, statements
from jido_objects.stores.link import Statement
from tests.contract.postgresql import needs_postgresql
from tests.contract.world import When

from . import test_races as races

pytestmark = needs_postgresql


@dataclass(frozen=True)
class Mutant:
    name: str
    statement: str
    text: str
    instead: str
    race: Callable[..., None]
    case: dict[str, Any] = field(default_factory=dict)
    caught_by: tuple[type[BaseException], ...] = (AssertionError, TimeoutError, pytest.fail.Exception)

    def __str__(self) -> str:
        return f"{self.name}: {self.race.__name__.removeprefix('test_')}"


_LANE = "SELECT id, term FROM jido_lane WHERE id = $1::uuid FOR KEY SHARE"
_UNLOCKED = _LANE.removesuffix(" FOR KEY SHARE")
_LEASE = "({proven} OR greatest(t.lease_until, pg_postmaster_start_time() + make_interval(secs => t.lease_seconds)) < clock_timestamp())"
_DELETIONS = "\n".join(statements.BURY.split("\n")[1:3])
_ONE_DELETION = f"WITH gone AS ({_DELETIONS.split(';')[0]} RETURNING t.id) DELETE FROM jido_lane WHERE term IN (SELECT id FROM gone);"
_OLD_LANE = ("END_LANES", "DELETE FROM jido_lane", "SELECT FROM jido_lane")

MUTANTS = [
    Mutant("appends take no lock", "APPEND_ONE", _LANE, _UNLOCKED, races.test_append_in_flight_while_buried),
    Mutant("appends take no lock", "APPEND_ONE", _LANE, _UNLOCKED, races.test_append_while_the_burial_is_uncommitted),
    *(
        Mutant(f"{what} takes no lock", name, _LANE, _UNLOCKED, races.test_every_write_waits_for_an_uncommitted_burial, {"what": what})
        for what, name in [
            ("append", "APPEND"),
            ("create", "APPEND_AND_CREATE"),
            ("claim", "CLAIM"),
            ("claim again", "CLAIM_AGAIN"),
            ("snapshot", "SNAPSHOT"),
        ]
    ),
    Mutant(
        "appends do not look for their lane",
        "APPEND_ONE",
        _LANE,
        "SELECT $1::uuid AS id",
        races.test_an_append_that_lands_after_settling_writes_nothing,
    ),
    Mutant("claims ignore the owner", "CLAIM", "o.owner IS NULL OR", "true OR", races.test_append_in_flight_while_buried),
    Mutant("claims ignore the epoch", "CLAIM", "AND o.epoch = c.epoch", "", races.test_two_claimers_with_one_epoch, {"same_term": True}),
    Mutant(
        "claims again ignore the owner", "CLAIM_AGAIN", "AND o.owner = lane.term", "", races.test_a_crash_of_the_server_forgets_no_epoch
    ),
    Mutant("nobody claims his own", "CLAIM", "o.owner = lane.term OR", "", races.test_a_claim_whose_reply_was_lost, {"when": When.AFTER}),
    Mutant(
        "the lease is read before waiting",
        "BURY",
        _LEASE,
        "t.id IN (SELECT x.id FROM jido_term x WHERE {proven} OR x.lease_until < clock_timestamp())",
        races.test_append_after_heartbeat_and_burial,
    ),
    Mutant(
        "a start of the server counts as a lapse",
        "BURY",
        _LEASE,
        "({proven} OR t.lease_until < clock_timestamp())",
        races.test_after_a_start_of_the_server_everyone_has_one_lease_to_come_back,
    ),
    Mutant(
        "one statement deletes the term and its lanes",
        "BURY",
        _DELETIONS,
        _ONE_DELETION,
        races.test_lane_inserted_while_its_term_is_being_buried,
    ),
    Mutant("lanes lock their term too strongly", "BEGIN_LANE", "FOR KEY SHARE", "FOR SHARE", races.test_heartbeat_under_a_held_share_lock),
    Mutant("lanes do not lock their term", "BEGIN_LANE", " FOR KEY SHARE", "", races.test_lane_wanted_while_the_burial_is_uncommitted),
    Mutant(
        "appends lock the term",
        "APPEND_ONE",
        _LANE,
        "SELECT l.id, l.term FROM jido_lane l JOIN jido_term t ON t.id = l.term WHERE l.id = $1::uuid FOR SHARE OF t FOR KEY SHARE OF l",
        races.test_append_under_an_uncommitted_heartbeat,
    ),
    Mutant("settling leaves the old lane", *_OLD_LANE, races.test_the_same_term_s_old_backend_commits_late),
    Mutant("settling leaves the old lane", *_OLD_LANE, races.test_an_append_that_lands_after_settling_writes_nothing),
    Mutant(
        "nobody is ended",
        "END_CONNECTIONS",
        "pg_terminate_backend(pid)",
        "false",
        races.test_a_frozen_client_does_not_block_a_burial,
        caught_by=(StoreUnavailable,),
    ),
    Mutant(
        "everybody is ended",
        "END_CONNECTIONS",
        "application_name LIKE $1::text AND",
        "$1::text IS NOT NULL AND",
        races.test_a_stranger_who_blocks_a_burial_is_left_alone,
        caught_by=(pytest.fail.Exception,),
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_mutant_is_caught(mutant: Mutant, postgresql_parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = getattr(statements, mutant.statement)
    sql = healthy.sql.decode() if isinstance(healthy, Statement) else healthy
    assert mutant.text in sql, "the SQL has changed: so must its mutant"
    mutated = sql.replace(mutant.text, mutant.instead)
    monkeypatch.setattr(statements, mutant.statement, Statement(mutated) if isinstance(healthy, Statement) else mutated)
    monkeypatch.setattr(races, "PROBE_SECONDS", 2.0)
    if any(mark.args == ("patient",) for mark in getattr(mutant.race, "pytestmark", [])):
        monkeypatch.setattr(postgresql, "LOCK_SECONDS", 8.0)
    with pytest.raises(mutant.caught_by):
        mutant.race(**mutant.case, postgresql_parameters=postgresql_parameters)
