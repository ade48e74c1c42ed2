"""The tables as Django sees them: no migration is missing, and what a store writes the ORM reads."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connections

from jido_objects import models
from jido_objects.stores.opening import open_store
from jido_objects.stores.protocol import Snapshot, TermInfo

from .world import LEASE, TYPE, create


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "jido_objects", check=True, dry_run=True, stdout=StringIO())


@pytest.mark.django_db(databases=list(connections), transaction=True)
@pytest.mark.parametrize("alias", list(connections))
def test_what_a_store_writes_the_orm_reads(alias: str) -> None:
    term, key = uuid4(), str(uuid4())
    at = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)

    async def write() -> int:
        store = open_store(alias)
        await store.open()
        try:
            await store.begin_term(term, TermInfo(pid=7, endpoints={"tcp": "x"}), LEASE)
            writer = await store.writer(term)
            (id_,) = await writer.append([create(key, 2, at=at, user="5", own_id=True)])
            assert isinstance(id_, int)
            await writer.snapshot([Snapshot(id_, 2, 1, "{}", 3)])
            await writer.close()
            return id_
        finally:
            await store.close()

    id_ = asyncio.run(write())
    row = models.Object.objects.using(alias).get(type=TYPE, key__startswith=key[:30])
    assert (row.pk, row.owner, row.epoch, row.destroyed, row.paused) == (id_, term, 1, False, False)
    assert abs(datetime.now(UTC) - row.created_at).total_seconds() < 60
    first, second = row.journal.order_by("seq")
    assert (first.pk, second.pk) == ((id_, 1), (id_, 2))
    assert (first.at, first.call_id, first.user, first.own_id, first.object) == (at, "call-1", "5", True, row)
    assert row.snapshots.get().document == "{}"
    seen = models.Term.objects.using(alias).get(pk=term)
    assert (seen.pid, seen.endpoints, seen.draining, seen.lease_seconds) == (7, '{"tcp": "x"}', False, LEASE)
    assert 0 < (seen.lease_until - datetime.now(UTC)).total_seconds() <= LEASE + 1
    assert abs(datetime.now(UTC) - seen.started).total_seconds() < 60
