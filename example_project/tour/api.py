"""The same sale for programs: what the page's script polls, and what ``manage.py storm`` drives.

The answer to a reservation is final (200 held, 409 refused) or it is 503, and then the same request, sent again with the
same call id until it is answered, takes effect once.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from jido_objects import ObjectException
from jido_objects.errors import JidoError

from .buyers import alias, buyer_of
from .models import SaleInfo
from .objects import NotOpen, Sale
from .views import PATIENCE, overview_of

NAME_LENGTH = 64


def problem(status: int, code: str, message: str, **more: Any) -> JsonResponse:
    response = JsonResponse({"error": code, "message": message} | more, status=status)
    if status == 503:
        response["Retry-After"] = "1"
    return response


@never_cache
@require_GET
def state(request: HttpRequest, slug: str) -> JsonResponse:
    """How the sale stands, with the hold of the buyer whose cookie asks."""
    info, buyer = get_object_or_404(SaleInfo, slug=slug), buyer_of(request)
    try:
        overview = overview_of(info, buyer)
    except JidoError as error:
        return problem(503, type(error).__name__, str(error))
    return JsonResponse(
        {
            "tickets": overview.tickets,
            "left": overview.left,
            "taken": overview.taken,
            "yours": dataclasses.asdict(overview.yours) if overview.yours else None,
            "activity": [
                {"who": alias(moment.buyer), "you": moment.buyer == buyer, "what": moment.what, "seats": moment.seats, "at": moment.at}
                for moment in overview.activity
            ],
        }
    )


@csrf_exempt
@require_POST
def reserve(request: HttpRequest, slug: str) -> JsonResponse:
    """Hold seats in the name of any buyer: ``{"buyer": …, "call_id": …, "n": 1}``."""
    if not settings.TOUR_API:
        raise Http404
    try:
        body = json.loads(request.body)
        buyer, call_id, n = body["buyer"], body["call_id"], body.get("n", 1)
    except (ValueError, KeyError, TypeError, AttributeError):
        return problem(400, "bad_request", 'Send {"buyer": "…", "call_id": "…", "n": 1}.')
    named = all(
        isinstance(name, str) and 0 < len(name) <= NAME_LENGTH and name.isascii() and name.isprintable() for name in (buyer, call_id)
    )
    if not named or type(n) is not int:
        return problem(400, "bad_request", f"buyer and call_id are strings of 1 to {NAME_LENGTH} printable characters, n is a number.")
    try:
        # No query finds out first whether there is such a sale: the object knows whether it was opened, and a refusal creates none.
        hold = Sale.at(slug).using(call_id=f"{buyer}:{call_id}", timeout=PATIENCE).call(Sale.reserve, buyer, n)
    except NotOpen as refusal:
        get_object_or_404(SaleInfo, slug=slug)
        return problem(409, "NotOpen", str(refusal))
    except ObjectException as refusal:
        return problem(409, type(refusal).__name__, str(refusal))
    except JidoError as error:
        again = error.retryable or error.applied is None
        return problem(503 if again else 500, type(error).__name__, str(error), retryable=again)
    return JsonResponse({"seats": hold.seats, "until": hold.until})
