"""Durable objects for Django: keyed, single-owner, crash-proof objects on the database the app already has."""

from __future__ import annotations

from .definition import Transient
from .durable import DurableObject, expose, query, transactional
from .errors import JidoError, ObjectException
from .refs import Ref

__all__ = ["DurableObject", "JidoError", "ObjectException", "Ref", "Transient", "expose", "query", "transactional"]
__version__ = "0.1.0"
