from __future__ import annotations

from django.db import models


class Order(models.Model):
    buyer = models.CharField(max_length=50, unique=True)

    def __str__(self) -> str:
        return self.buyer
