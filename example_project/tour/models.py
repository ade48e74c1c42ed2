"""What the box office writes on the poster. How many are left, and whose they are, is the ``Sale`` object's business."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.urls import reverse

from jido_objects import Ref

from .objects import Sale


class SaleInfo(models.Model):
    class Palette(models.TextChoices):
        EMBER = "ember", "Ember"
        TIDE = "tide", "Tide"
        MOSS = "moss", "Moss"
        DUSK = "dusk", "Dusk"

    slug = models.SlugField(unique=True, help_text="The address of the page, and the key of the Sale object. Cannot be changed later.")
    city = models.CharField(max_length=60)
    venue = models.CharField(max_length=80)
    date = models.DateTimeField(help_text="Doors.")
    price = models.DecimalField(max_digits=7, decimal_places=2, validators=[MinValueValidator(Decimal(0))], help_text="In euros.")
    tickets = models.PositiveIntegerField(
        default=100,
        validators=[MinValueValidator(1), MaxValueValidator(50_000)],
        help_text="How many go on sale. Cannot be changed later: from then on the Sale object counts.",
    )
    palette = models.CharField(max_length=8, choices=Palette, default=Palette.EMBER)
    listed = models.BooleanField(default=True, help_text="Whether the front page shows it.")

    class Meta:
        ordering = ["date"]
        verbose_name = "sale"

    def __str__(self) -> str:
        return f"{self.city}, {self.venue}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        new = self._state.adding
        super().save(*args, **kwargs)
        if new:
            transaction.on_commit(self.open)

    def get_absolute_url(self) -> str:
        return reverse("tour:sale", args=[self.slug])

    @property
    def ref(self) -> Ref[Sale]:
        return Sale.at(self.slug)

    def open(self) -> None:
        """Put the tickets on sale. The call id makes a second time harmless."""
        self.ref.using(call_id=f"open:{self.pk}").call(Sale.open, self.tickets)
