"""The application's own rows, written in the transactions of ``Ledger.order``."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Order(models.Model):
    objects: ClassVar[models.Manager[Order]] = models.Manager()
    ledger = models.CharField(max_length=200)
    call_id = models.CharField(max_length=200)
    value = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.ledger}: {self.value}"
