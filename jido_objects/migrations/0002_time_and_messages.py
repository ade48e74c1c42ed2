"""Alarms, messages and the windows in which calls are remembered."""

from __future__ import annotations

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import jido_objects.models


class Migration(migrations.Migration):
    dependencies = [
        ("jido_objects", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Deployment",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("paused", models.BooleanField(db_default=False)),
                ("changed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "db_table": "jido_deployment",
            },
        ),
        migrations.CreateModel(
            name="RememberedCall",
            fields=[
                ("pk", models.CompositePrimaryKey("object_id", "call_id", blank=True, editable=False, primary_key=True, serialize=False)),
                (
                    "object",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="remembered",
                        to="jido_objects.object",
                    ),
                ),
                ("call_id", jido_objects.models.NameField(max_length=200)),
                ("seq", models.BigIntegerField()),
                ("kind", models.SmallIntegerField()),
                ("method", models.CharField(max_length=100)),
                ("digest", models.BigIntegerField()),
                ("result", models.TextField(null=True)),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "jido_call",
            },
        ),
        migrations.CreateModel(
            name="Walk",
            fields=[
                ("milliseconds", models.BigIntegerField(primary_key=True, serialize=False)),
                ("call_id", jido_objects.models.NameField(max_length=200)),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "jido_walk",
            },
        ),
        migrations.RemoveConstraint(
            model_name="inbox",
            name="jido_inbox_sender",
        ),
        migrations.AddField(
            model_name="inbox",
            name="taker",
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name="object",
            name="expires_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="object",
            name="horizon",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="object",
            name="indexed",
            field=models.JSONField(null=True),
        ),
        migrations.AddIndex(
            model_name="inbox",
            index=models.Index(condition=models.Q(("dead", False), ("taker__isnull", False)), fields=["taker"], name="jido_inbox_taken"),
        ),
        migrations.AddIndex(
            model_name="journal",
            index=models.Index(condition=models.Q(("own_id", True)), fields=["at"], name="jido_journal_own"),
        ),
        migrations.AddIndex(
            model_name="object",
            index=models.Index(condition=models.Q(("expires_at__isnull", False)), fields=["expires_at"], name="jido_object_expires"),
        ),
        migrations.AddConstraint(
            model_name="inbox",
            constraint=models.UniqueConstraint(condition=models.Q(("sender__isnull", False)), fields=("sender", "type", "key", "sender_seq", "sender_index"), name="jido_inbox_sent"),
        ),
        migrations.AddIndex(
            model_name="rememberedcall",
            index=models.Index(fields=["at"], name="jido_call_at"),
        ),
    ]
