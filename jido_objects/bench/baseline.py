"""What a Django developer writes without durable objects: a row, locked, changed and saved, and a history row beside it.

The models live in a registry of their own, so that no migration, admin or system check of the project ever sees them.
"""

from __future__ import annotations

from typing import ClassVar

from django.apps.registry import Apps
from django.db import models, transaction

from .. import ids
from .names import APP

_apps = Apps()


class Counter(models.Model):
    """The row that everybody wants."""

    objects: ClassVar[models.Manager[Counter]] = models.Manager()
    value = models.BigIntegerField(default=0)

    class Meta:
        apps = _apps
        app_label = APP
        db_table = "jido_bench_counter"

    def __str__(self) -> str:
        return f"{self.pk}: {self.value}"


class History(models.Model):
    """One change of a counter."""

    objects: ClassVar[models.Manager[History]] = models.Manager()
    counter = models.ForeignKey(Counter, models.CASCADE)
    call_id = models.CharField(max_length=200)
    method = models.CharField(max_length=100)
    result = models.TextField()
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        apps = _apps
        app_label = APP
        db_table = "jido_bench_history"

    def __str__(self) -> str:
        return f"{self.counter}, {self.method}: {self.result}"


class Bare(models.Model):
    """A history row that nothing refers to and that refers to nothing: what the driver alone can insert."""

    objects: ClassVar[models.Manager[Bare]] = models.Manager()
    counter = models.BigIntegerField(db_index=True)
    call_id = models.CharField(max_length=200)
    method = models.CharField(max_length=100)
    result = models.TextField()
    at = models.DateTimeField()

    class Meta:
        apps = _apps
        app_label = APP
        db_table = "jido_bench_bare"

    def __str__(self) -> str:
        return f"{self.counter} {self.method}: {self.result}"


TABLES: tuple[type[models.Model], ...] = (Counter, History, Bare)
"""In the order in which they can be made."""


def add(alias: str, pk: int, n: int = 1) -> int:
    """The baseline's call."""
    with transaction.atomic(using=alias):
        counter = Counter.objects.using(alias).select_for_update().get(pk=pk)
        counter.value += n
        counter.save(using=alias)
        History.objects.using(alias).create(counter=counter, call_id=ids.generate(), method="add", result=str(counter.value))
    return counter.value


def add_without_history(alias: str, pk: int, n: int = 1) -> int:
    """The baseline's call, when nobody asks what happened."""
    with transaction.atomic(using=alias):
        counter = Counter.objects.using(alias).select_for_update().get(pk=pk)
        counter.value += n
        counter.save(using=alias)
    return counter.value


def read(alias: str, pk: int) -> int:
    """The baseline's read."""
    return Counter.objects.using(alias).get(pk=pk).value
