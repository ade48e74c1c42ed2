"""The settings: one dict, ``JIDO_OBJECTS``, read when first needed, with strict keys."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings as django_settings

from . import limits
from .errors import ConfigurationError
from .options import did_you_mean

NAME = "JIDO_OBJECTS"


@dataclass(frozen=True, slots=True)
class Settings:
    """``JIDO_OBJECTS`` with its defaults. Durations are seconds."""

    STORE: str = "django"
    """The only store there is."""
    DATABASE: str = "default"
    """Alias of the database that holds the objects: a direct connection to a primary, not one behind a transaction pooler."""
    HOST: str = "auto"
    """``auto`` | ``always`` | ``never``: whether this process may host objects."""
    TRANSPORT: str = "auto"
    REDIS_URL: str = ""
    ADVERTISE: str = ""
    REGION: str = ""
    LEASE_SECONDS: float = limits.LEASE_SECONDS
    """PostgreSQL: how long a process must be silent before its objects may be taken over."""
    STALL_SECONDS: float = limits.STALL_SECONDS
    """How long the host's loop may be stuck before its lease is no longer renewed."""
    MAX_ACTIVATIONS: int = limits.ACTIVATIONS
    """Objects in memory; past it the least recently used leave."""
    RETENTION: float = limits.RETENTION
    """Age at which a generated call id that is sent again raises ``CallExpired``."""
    CALL_ID_SECONDS: float = limits.CALL_ID_SECONDS
    REBALANCE: bool = True
    PAUSED: bool = False


KEYS = tuple(field.name for field in fields(Settings))
_CHOICES = {"HOST": ("auto", "always", "never"), "TRANSPORT": ("auto", "tcp", "redis"), "STORE": ("django",)}
_POSITIVE = ("LEASE_SECONDS", "STALL_SECONDS", "MAX_ACTIVATIONS", "RETENTION", "CALL_ID_SECONDS")


def problems(given: Any) -> list[str]:
    """What is wrong with the value of ``JIDO_OBJECTS``, each with what would be right."""
    if not isinstance(given, dict):
        return [f"{NAME} is a dict, not {given!r}."]
    found = []
    for key, value in given.items():
        if key not in KEYS:
            found.append(f"{NAME} has no key {key!r}{did_you_mean(str(key).upper(), KEYS)}.")
        elif key in _CHOICES and value not in _CHOICES[key]:
            found.append(f"{NAME}[{key!r}] is one of {', '.join(map(repr, _CHOICES[key]))}, not {value!r}.")
        elif key in _POSITIVE and not limits.is_positive(value):
            found.append(f"{NAME}[{key!r}] is a number above zero, not {value!r}.")
        elif key in ("DATABASE", "REDIS_URL", "ADVERTISE", "REGION") and not isinstance(value, str):
            found.append(f"{NAME}[{key!r}] is a string, not {value!r}.")
        elif key in ("REBALANCE", "PAUSED") and not isinstance(value, bool):
            found.append(f"{NAME}[{key!r}] is True or False, not {value!r}.")
    return found


def read() -> Settings:
    """The settings as they are now; raises ``ConfigurationError``."""
    given = getattr(django_settings, NAME, {})
    found = problems(given)
    if found:
        raise ConfigurationError(" ".join(found))
    return Settings(**given)
