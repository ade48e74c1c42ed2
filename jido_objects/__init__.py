"""Durable objects for Django: keyed, single-owner, crash-proof objects on the database the app already has."""

from __future__ import annotations

from .definition import Transient
from .durable import DurableObject, expose, query, transactional
from .errors import JidoError, ObjectException
from .existence import creates
from .refs import Ref
from .upcasting import migrates

__all__ = [
    "DurableObject",
    "JidoError",
    "ObjectException",
    "Ref",
    "Transient",
    "creates",
    "expose",
    "migrates",
    "query",
    "transactional",
]
__version__ = "0.1.0"
