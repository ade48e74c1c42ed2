"""The tables, as migrations, the admin and SQL see them. Hosts write them through the stores, never through the ORM.

Two references dangle on purpose. An object's ``owner`` may name a term that is gone: failing over a million objects is one
``DELETE``. A journal row has no foreign key to its object, whose row would be locked at every insert. Terms and lanes have
ids that their makers drew: nothing, not even a ``flush`` that restarts the sequences, lets one be used twice.

The journal's key is ``(object, seq)``: a surrogate id, one more index, was measured to cost 6–12 % of an insert's time. Its
second index begins with the call id. Generated ids grow with time, so it grows at its right end (2–8 %; 4–25 % if it began
with the object); and no plan can mistake it for a way to one object's rows (see ``stores.statements``). Documents are JSON
*text*: jsonb refuses ``\\u0000`` and reorders keys.
"""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now

from .limits import CALL_ID_BYTES, KEY_BYTES, METHOD_BYTES


class NameField(models.CharField):  # type: ignore[type-arg]
    """A name that is compared byte by byte on every database: faster indexes, and prefixes found through them."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = dict(super().db_parameters(connection))
        if connection.vendor == "postgresql":
            parameters["collation"] = "C"
        return parameters


class Object(models.Model):
    """An object that has a committed turn. ``owner`` is the term that claimed it last, under ``epoch``."""

    type = NameField(max_length=200)
    key = NameField(max_length=KEY_BYTES)
    owner = models.UUIDField(null=True, editable=False)
    epoch = models.BigIntegerField(db_default=0)
    destroyed = models.BooleanField(db_default=False)
    paused = models.BooleanField(db_default=False)
    created_at = models.DateTimeField(db_default=Now())
    horizon = models.DateTimeField(null=True)
    """The latest time in a generated call id whose row was trimmed: what an id no newer than it did is no longer known."""
    expires_at = models.DateTimeField(null=True)
    indexed = models.JSONField(null=True)
    """The fields that ``Meta.index`` names, as the newest journal row left them."""

    class Meta:
        db_table = "jido_object"
        constraints = [models.UniqueConstraint(fields=["type", "key"], name="jido_object_name")]
        indexes = [models.Index(fields=["expires_at"], condition=models.Q(expires_at__isnull=False), name="jido_object_expires")]

    def __str__(self) -> str:
        return f"{self.type}({self.key!r})"


class Term(models.Model):
    """One life of a host. Deleting the row ends it."""

    id = models.UUIDField(primary_key=True)
    started = models.DateTimeField(db_default=Now())
    lease_until = models.DateTimeField()
    lease_seconds = models.FloatField()
    boot_id = models.CharField(max_length=100)
    pid_namespace = models.CharField(max_length=100)
    network_namespace = models.CharField(max_length=100)
    pid = models.BigIntegerField()
    pid_started = models.CharField(max_length=100)
    hostname = models.CharField(max_length=255)
    region = models.CharField(max_length=100)
    code_version = models.CharField(max_length=200)
    wire_version = models.IntegerField()
    endpoints = models.TextField()
    draining = models.BooleanField()

    class Meta:
        db_table = "jido_term"

    def __str__(self) -> str:
        return f"{self.id} ({self.hostname}, process {self.pid})"


class Lane(models.Model):
    """One writer connection of a term. What it writes, it writes under a share lock of this row."""

    id = models.UUIDField(primary_key=True)
    term = models.UUIDField()

    class Meta:
        db_table = "jido_lane"
        indexes = [models.Index(fields=["term"], name="jido_lane_term")]

    def __str__(self) -> str:
        return str(self.id)


class Journal(models.Model):
    """One committed turn of one object; ``(object, seq)`` has no gap. Never changed, only trimmed from its old end."""

    pk = models.CompositePrimaryKey("object_id", "seq")
    object = models.ForeignKey(Object, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="journal")
    seq = models.BigIntegerField()
    epoch = models.BigIntegerField()
    digest = models.BigIntegerField()
    at = models.DateTimeField()
    version = models.IntegerField()
    format = models.SmallIntegerField()
    kind = models.SmallIntegerField()
    own_id = models.BooleanField()
    call_id = NameField(max_length=CALL_ID_BYTES)
    method = models.CharField(max_length=METHOD_BYTES)
    user = models.CharField(max_length=255, null=True, db_column="user_id")  # noqa: DJ001
    delta = models.TextField()
    result = models.TextField(null=True)  # noqa: DJ001
    extra = models.TextField(null=True)  # noqa: DJ001

    class Meta:
        db_table = "jido_journal"
        indexes = [
            models.Index(fields=["call_id", "object"], name="jido_journal_call"),
            models.Index(fields=["at"], condition=models.Q(own_id=True), name="jido_journal_own"),
        ]

    def __str__(self) -> str:
        return f"{self.object_id}/{self.seq} {self.method}"


class Snapshot(models.Model):
    """An object's state at ``seq``, so that a thaw costs the tail and not the history."""

    pk = models.CompositePrimaryKey("object_id", "seq")
    object = models.ForeignKey(Object, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="snapshots")
    seq = models.BigIntegerField()
    epoch = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())
    version = models.IntegerField()
    format = models.SmallIntegerField()
    document = models.TextField()

    class Meta:
        db_table = "jido_snapshot"

    def __str__(self) -> str:
        return f"{self.object_id}/{self.seq}"


class RememberedCall(models.Model):
    """What a call under its caller's own id did: such an id outlives the journal row, which is trimmed earlier."""

    pk = models.CompositePrimaryKey("object_id", "call_id")
    object = models.ForeignKey(Object, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="remembered")
    call_id = NameField(max_length=CALL_ID_BYTES)
    seq = models.BigIntegerField()
    kind = models.SmallIntegerField()
    method = models.CharField(max_length=METHOD_BYTES)
    digest = models.BigIntegerField()
    result = models.TextField(null=True)  # noqa: DJ001
    at = models.DateTimeField()

    class Meta:
        db_table = "jido_call"
        indexes = [models.Index(fields=["at"], name="jido_call_at")]

    def __str__(self) -> str:
        return f"{self.object_id}/{self.call_id}"


class Walk(models.Model):
    """How far the journal has been walked in search of what is past one window, by generated ids and by callers' own."""

    milliseconds = models.BigIntegerField(primary_key=True)
    call_id = NameField(max_length=CALL_ID_BYTES)
    at = models.DateTimeField()

    class Meta:
        db_table = "jido_walk"

    def __str__(self) -> str:
        return f"{self.milliseconds / 1000} s: {self.call_id}, {self.at}"


class Deployment(models.Model):
    """What holds for all processes of the deployment. One row."""

    id = models.SmallIntegerField(primary_key=True)
    paused = models.BooleanField(db_default=False)
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "jido_deployment"

    def __str__(self) -> str:
        return "paused" if self.paused else "running"


class Inbox(models.Model):
    """A durable message that waits for an object: an alarm, a send, a call that left with a transaction.

    It is addressed by type and key: its object may have no row yet. ``due`` is what was asked for, ``not_before`` when it is
    tried next. ``taker`` is the term that runs it: what a dead one had taken is tried again at once.
    """

    type = NameField(max_length=200)
    key = NameField(max_length=KEY_BYTES)
    object = models.ForeignKey(Object, models.DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="inbox")
    name = NameField(max_length=200, null=True)
    due = models.DateTimeField()
    not_before = models.DateTimeField()
    method = models.CharField(max_length=METHOD_BYTES)
    args = models.TextField()
    kwargs = models.TextField()
    attempts = models.IntegerField(db_default=0)
    taker = models.UUIDField(null=True)
    dead = models.BooleanField(db_default=False)
    sender = models.BigIntegerField(null=True)
    sender_seq = models.BigIntegerField(null=True)
    sender_index = models.IntegerField(null=True)
    recurrence = models.TextField(null=True)  # noqa: DJ001
    zone = models.CharField(max_length=100, null=True)  # noqa: DJ001
    call_id = NameField(max_length=CALL_ID_BYTES, null=True)
    user = models.CharField(max_length=255, null=True, db_column="user_id")  # noqa: DJ001
    last_error = models.TextField(null=True)  # noqa: DJ001
    version = models.IntegerField(db_default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "jido_inbox"
        constraints = [
            models.UniqueConstraint(fields=["type", "key", "name"], condition=models.Q(name__isnull=False), name="jido_inbox_name"),
            models.UniqueConstraint(
                fields=["sender", "type", "key", "sender_seq", "sender_index"],
                condition=models.Q(sender__isnull=False),
                name="jido_inbox_sent",
            ),
        ]
        indexes = [
            models.Index(fields=["not_before"], condition=models.Q(dead=False), name="jido_inbox_due"),
            models.Index(fields=["type", "key", "not_before"], name="jido_inbox_object"),
            models.Index(fields=["taker"], condition=models.Q(taker__isnull=False, dead=False), name="jido_inbox_taken"),
        ]

    def __str__(self) -> str:
        return f"{self.type}({self.key!r}).{self.method}"
