"""Rows of the application's own, beside its objects."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Customer(models.Model):
    objects: ClassVar[models.Manager[Customer]] = models.Manager()
    name = models.CharField(max_length=100, unique=True)
    visits = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    objects: ClassVar[models.Manager[Order]] = models.Manager()
    shop = models.CharField(max_length=100)
    number = models.IntegerField()
    customer = models.ForeignKey(Customer, models.CASCADE, null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["shop", "number"], name="app_order_number")]

    def __str__(self) -> str:
        return f"{self.shop} {self.number}"
