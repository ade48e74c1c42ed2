"""The codec: annotations compiled to kinds, which check, copy, encode and decode values.

``kind_of(int | None, where="Sale.stock")`` returns a ``Kind``; its ``copy`` lets a value in, ``encode`` writes it as JSON text
that a person can read, ``decode`` gives it back.
"""

from __future__ import annotations

from .annotations import changeable, kind_of, register
from .containers import ContainerKind, DictKind, ListKind, SetKind
from .dynamic import DYNAMIC
from .kinds import CorruptValue, Kind, Refused, Tracked

__all__ = [
    "DYNAMIC",
    "ContainerKind",
    "CorruptValue",
    "DictKind",
    "Kind",
    "ListKind",
    "Refused",
    "SetKind",
    "Tracked",
    "changeable",
    "kind_of",
    "register",
]
