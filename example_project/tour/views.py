"""The pages: plain Django views that call the ``Sale`` object and say kindly what became of it.

Every form carries a call id. A double click, a resent form or a reload sends the same id again, and gets the recorded
answer of the first instead of a second hold.
"""

from __future__ import annotations

import secrets
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from jido_objects import ObjectException
from jido_objects.errors import CallIdReused, JidoError

from .buyers import alias, buyer_of
from .house import HEIGHT, WIDTH, house
from .models import SaleInfo
from .objects import DRAWN, SEATS_PER_BUYER, Overview, Sale

PATIENCE = 5.0
"""Seconds that a page waits for an object."""
CALL_ID_LENGTH = 40


def new_call_id() -> str:
    return secrets.token_urlsafe(16)


def overview_of(info: SaleInfo, buyer: str) -> Overview:
    """What an object says now; a sale whose opening was cut off by a crash is opened here."""
    overview: Overview = info.ref.using(timeout=PATIENCE).get("overview", buyer)
    if not overview.tickets:
        info.open()
        overview = info.ref.using(timeout=PATIENCE).get("overview", buyer)
    return overview


@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok\n", content_type="text/plain")


@never_cache
@require_GET
def index(request: HttpRequest) -> HttpResponse:
    buyer_of(request)
    sales = [(info, left_of(info)) for info in SaleInfo.objects.filter(listed=True)]
    return render(request, "tour/index.html", {"sales": sales})


def left_of(info: SaleInfo) -> int | None:
    """How many are left, or ``None`` while that cannot be said: one sale's trouble does not take the front page down."""
    try:
        overview = info.ref.using(timeout=PATIENCE).get("overview", "")
    except JidoError:
        return None
    return overview.left if overview.tickets else info.tickets


@never_cache
@require_GET
def sale(request: HttpRequest, slug: str) -> HttpResponse:
    return sale_page(request, get_object_or_404(SaleInfo, slug=slug), buyer_of(request))


def sale_page(request: HttpRequest, info: SaleInfo, buyer: str, *, again: dict[str, Any] | None = None, status: int = 200) -> HttpResponse:
    """The page of a sale; ``again`` is the form whose outcome is not known, ready to be sent once more as it was."""
    context: dict[str, Any] = {"info": info, "again": again, "call_id": new_call_id(), "per_buyer": SEATS_PER_BUYER}
    try:
        overview = overview_of(info, buyer)
    except JidoError:
        return render(request, "tour/unavailable.html", context, status=503)
    taken, yours = set(overview.taken), set(overview.yours.seats if overview.yours else ())
    drawn = house(overview.tickets) if overview.tickets <= DRAWN else None
    context |= {
        "overview": overview,
        "percent": round(100 * overview.left / overview.tickets) if overview.tickets else 0,
        "activity": [(alias(moment.buyer), moment, moment.buyer == buyer) for moment in overview.activity],
        "seats": [(seat, "yours" if seat.number in yours else "taken" if seat.number in taken else "free") for seat in drawn.seats]
        if drawn
        else [],
        "radius": drawn.radius if drawn else 0,
        "width": WIDTH,
        "height": HEIGHT,
        "choices": range(1, 1 + min(overview.left, SEATS_PER_BUYER - len(yours))),
    }
    return render(request, "tour/sale.html", context, status=status)


@require_POST
def reserve(request: HttpRequest, slug: str) -> HttpResponse:
    info, buyer = get_object_or_404(SaleInfo, slug=slug), buyer_of(request)
    call_id, n = request.POST.get("call_id", ""), request.POST.get("n", "")
    if not call_id or len(call_id) > CALL_ID_LENGTH or not call_id.isascii() or not n.isdecimal() or len(n) > 2:
        messages.error(request, "That form was incomplete. Here is a fresh one.")
        return redirect(info)
    try:
        hold = info.ref.using(call_id=f"{buyer}:{call_id}", timeout=PATIENCE).call(Sale.reserve, buyer, int(n))
    except ObjectException as refusal:
        messages.warning(request, str(refusal))
    except CallIdReused:
        messages.warning(request, "That form was already used. Here is a fresh one.")
    except JidoError:
        return sale_page(request, info, buyer, again={"call_id": call_id, "n": n}, status=503)
    else:
        messages.success(request, f"Yours: {seats_text(hold.seats)}.")
    return redirect(info)


@require_POST
def release(request: HttpRequest, slug: str) -> HttpResponse:
    info, buyer = get_object_or_404(SaleInfo, slug=slug), buyer_of(request)
    try:
        given = info.ref.using(timeout=PATIENCE).call(Sale.release, buyer)
    except JidoError:
        messages.error(request, "We could not reach the box office. Please try again.")
    else:
        messages.success(request, "Your seats are back on sale." if given else "You held no seats any more.")
    return redirect(info)


def seats_text(seats: tuple[int, ...]) -> str:
    return f"seat {seats[0]}" if len(seats) == 1 else f"seats {', '.join(map(str, seats[:-1]))} and {seats[-1]}"
