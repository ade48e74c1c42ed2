from __future__ import annotations

from collections.abc import Sequence

from django.contrib import admin
from django.http import HttpRequest

from .models import SaleInfo


@admin.register(SaleInfo)
class SaleInfoAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("city", "venue", "date", "price", "tickets", "left", "listed")
    list_filter = ("listed",)
    search_fields = ("city", "venue", "slug")
    prepopulated_fields = {"slug": ("city",)}

    def get_readonly_fields(self, request: HttpRequest, obj: SaleInfo | None = None) -> tuple[str, ...]:
        return ("slug", "tickets", "left") if obj else ()

    def get_prepopulated_fields(self, request: HttpRequest, obj: SaleInfo | None = None) -> dict[str, Sequence[str]]:
        return {} if obj else {"slug": ("city",)}

    @admin.display(description="left")
    def left(self, info: SaleInfo) -> int:
        state = info.ref.peek()
        return state["stock"] if state else info.tickets
