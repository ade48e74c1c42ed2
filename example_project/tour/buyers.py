"""Who is asking: a random id in a signed cookie, and the name under which the others see it."""

from __future__ import annotations

import secrets
import zlib

from django.http import HttpRequest

_FIRST = (
    "Amber",
    "Brisk",
    "Calm",
    "Dapper",
    "Early",
    "Fabled",
    "Gentle",
    "Hidden",
    "Ivory",
    "Jolly",
    "Keen",
    "Lunar",
    "Mellow",
    "Nimble",
    "Opal",
    "Quiet",
)
_LAST = (
    "Badger",
    "Comet",
    "Dove",
    "Ember",
    "Finch",
    "Gull",
    "Heron",
    "Ibis",
    "Jackal",
    "Kestrel",
    "Lynx",
    "Marten",
    "Newt",
    "Otter",
    "Puffin",
    "Wren",
)


def buyer_of(request: HttpRequest) -> str:
    """The id in this browser's cookie; a browser without one gets one with the response."""
    buyer: str | None = request.session.get("buyer")
    if buyer is None:
        buyer = request.session["buyer"] = secrets.token_hex(8)
    return buyer


def alias(buyer: str) -> str:
    """A name to show, the same for the same buyer, that tells nothing about the cookie."""
    number = zlib.crc32(buyer.encode())
    return f"{_FIRST[number % len(_FIRST)]} {_LAST[number // 16 % len(_LAST)]}"
