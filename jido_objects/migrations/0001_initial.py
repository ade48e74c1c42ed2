"""The first tables."""

from __future__ import annotations

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import jido_objects.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Term",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("started", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("lease_until", models.DateTimeField()),
                ("lease_seconds", models.FloatField()),
                ("boot_id", models.CharField(max_length=100)),
                ("pid_namespace", models.CharField(max_length=100)),
                ("network_namespace", models.CharField(max_length=100)),
                ("pid", models.BigIntegerField()),
                ("pid_started", models.CharField(max_length=100)),
                ("hostname", models.CharField(max_length=255)),
                ("region", models.CharField(max_length=100)),
                ("code_version", models.CharField(max_length=200)),
                ("wire_version", models.IntegerField()),
                ("endpoints", models.TextField()),
                ("draining", models.BooleanField()),
            ],
            options={
                "db_table": "jido_term",
            },
        ),
        migrations.CreateModel(
            name="Lane",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("term", models.UUIDField()),
            ],
            options={
                "db_table": "jido_lane",
                "indexes": [models.Index(fields=["term"], name="jido_lane_term")],
            },
        ),
        migrations.CreateModel(
            name="Object",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("type", jido_objects.models.NameField(max_length=200)),
                ("key", jido_objects.models.NameField(max_length=200)),
                ("owner", models.UUIDField(editable=False, null=True)),
                ("epoch", models.BigIntegerField(db_default=0)),
                ("destroyed", models.BooleanField(db_default=False)),
                ("paused", models.BooleanField(db_default=False)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "db_table": "jido_object",
                "constraints": [models.UniqueConstraint(fields=("type", "key"), name="jido_object_name")],
            },
        ),
        migrations.CreateModel(
            name="Snapshot",
            fields=[
                ("pk", models.CompositePrimaryKey("object_id", "seq", blank=True, editable=False, primary_key=True, serialize=False)),
                (
                    "object",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="snapshots",
                        to="jido_objects.object",
                    ),
                ),
                ("seq", models.BigIntegerField()),
                ("epoch", models.BigIntegerField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("version", models.IntegerField()),
                ("format", models.SmallIntegerField()),
                ("document", models.TextField()),
            ],
            options={
                "db_table": "jido_snapshot",
            },
        ),
        migrations.CreateModel(
            name="Journal",
            fields=[
                ("pk", models.CompositePrimaryKey("object_id", "seq", blank=True, editable=False, primary_key=True, serialize=False)),
                (
                    "object",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="journal",
                        to="jido_objects.object",
                    ),
                ),
                ("seq", models.BigIntegerField()),
                ("epoch", models.BigIntegerField()),
                ("digest", models.BigIntegerField()),
                ("at", models.DateTimeField()),
                ("version", models.IntegerField()),
                ("format", models.SmallIntegerField()),
                ("kind", models.SmallIntegerField()),
                ("own_id", models.BooleanField()),
                ("call_id", jido_objects.models.NameField(max_length=200)),
                ("method", models.CharField(max_length=100)),
                ("user", models.CharField(db_column="user_id", max_length=255, null=True)),
                ("delta", models.TextField()),
                ("result", models.TextField(null=True)),
                ("extra", models.TextField(null=True)),
            ],
            options={
                "db_table": "jido_journal",
                "indexes": [models.Index(fields=["call_id", "object"], name="jido_journal_call")],
            },
        ),
        migrations.CreateModel(
            name="Inbox",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("type", jido_objects.models.NameField(max_length=200)),
                ("key", jido_objects.models.NameField(max_length=200)),
                (
                    "object",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="inbox",
                        to="jido_objects.object",
                    ),
                ),
                ("name", jido_objects.models.NameField(max_length=200, null=True)),
                ("due", models.DateTimeField()),
                ("not_before", models.DateTimeField()),
                ("method", models.CharField(max_length=100)),
                ("args", models.TextField()),
                ("kwargs", models.TextField()),
                ("attempts", models.IntegerField(db_default=0)),
                ("dead", models.BooleanField(db_default=False)),
                ("sender", models.BigIntegerField(null=True)),
                ("sender_seq", models.BigIntegerField(null=True)),
                ("sender_index", models.IntegerField(null=True)),
                ("recurrence", models.TextField(null=True)),
                ("zone", models.CharField(max_length=100, null=True)),
                ("call_id", jido_objects.models.NameField(max_length=200, null=True)),
                ("user", models.CharField(db_column="user_id", max_length=255, null=True)),
                ("last_error", models.TextField(null=True)),
                ("version", models.IntegerField(db_default=0)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "db_table": "jido_inbox",
                "indexes": [
                    models.Index(condition=models.Q(("dead", False)), fields=["not_before"], name="jido_inbox_due"),
                    models.Index(fields=["type", "key", "not_before"], name="jido_inbox_object"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("name__isnull", False)), fields=("type", "key", "name"), name="jido_inbox_name"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("sender__isnull", False)),
                        fields=("sender", "sender_seq", "sender_index"),
                        name="jido_inbox_sender",
                    ),
                ],
            },
        ),
    ]
