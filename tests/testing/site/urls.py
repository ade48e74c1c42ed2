from __future__ import annotations

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

from shop.objects import Counter


def add(request: HttpRequest, key: str) -> HttpResponse:
    return HttpResponse(Counter.at(key).call(Counter.add))


async def aadd(request: HttpRequest, key: str) -> HttpResponse:
    return HttpResponse(await Counter.at(key).acall(Counter.add))


@transaction.atomic
def atomic(request: HttpRequest, key: str) -> HttpResponse:
    return HttpResponse(Counter.at(key).call(Counter.add))


urlpatterns = [path("add/<key>/", add), path("aadd/<key>/", aadd), path("atomic/<key>/", atomic)]
