"""``class Meta`` of an object type, read and checked once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from . import limits
from .errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Options:
    """``class Meta`` of an object type. Seconds, bytes and counts; what cannot be raises ``DefinitionError`` with the class."""

    label: str = ""
    """The type's label in the database; ``app_label.ClassName`` if empty."""
    key: tuple[str, ...] | None = None
    """Names of the key's parts; ``()`` is a singleton; ``None`` leaves the parts open."""
    kind: str = "durable"
    """The only kind there is."""
    version: int = 1
    """Version of the state's shape, from 1; objects that newer code has written raise ``NewerVersion``."""
    aliases: tuple[str, ...] = ()
    """Labels that the type had before, the oldest first."""
    idle_seconds: float = limits.IDLE_SECONDS
    """Seconds without a call after which an object leaves memory."""
    turn_timeout: float = limits.TURN_TIMEOUT
    """Seconds that an ``async def`` turn may take; past it, ``TurnTimeout``."""
    snapshot_every: int = limits.SNAPSHOT_EVERY
    """Turns after which a snapshot is due."""
    max_mailbox: int = limits.MAILBOX
    """Calls that may wait for one object; past it, ``Overloaded``."""
    max_state_bytes: int = limits.STATE_BYTES
    """Bytes of the encoded state; past it, ``StateTooLarge``."""
    retention: float | None = None
    expires: float | None = None
    index: tuple[str, ...] = ()
    region: str | None = None
    abstract: bool = False
    """A base class only: no type of its own."""

    @classmethod
    def read(cls, owner: str, meta: type | None, inherited: Options | None = None) -> Options:
        """Check a ``class Meta`` and return its options; raises ``DefinitionError``.

        What it does not set is as in the base class, except for what names one type, label, aliases and abstract: those
        are its own even where it is a ``class Meta(Base.Meta)``.
        """
        base = cls() if inherited is None else replace(inherited, label="", aliases=(), abstract=False)
        if meta is None:
            return base
        given: dict[str, Any] = {}
        for one in reversed(meta.__mro__[:-1]):
            given.update((name, value) for name, value in vars(one).items() if not name.startswith("__"))
        for name in ("label", "aliases", "abstract"):
            if name not in vars(meta):
                given.pop(name, None)
        known = cls.__slots__
        for name in given:
            if name not in known:
                raise DefinitionError(f"{owner}.Meta has no option {name!r}{did_you_mean(name, known)}.")
        for name in ("key", "aliases", "index"):
            if isinstance(given.get(name), str):
                raise DefinitionError(f"{owner}.Meta.{name} is a tuple of names: write ({given[name]!r},).")
            if given.get(name) is not None:
                given[name] = tuple(given[name])
                wrong = next((one for one in given[name] if not isinstance(one, str) or not one), None)
                if wrong is not None or len(set(given[name])) < len(given[name]):
                    raise DefinitionError(f"{owner}.Meta.{name} is a tuple of different names, not {given[name]!r}.")
        options = replace(base, **given)
        if options.kind != "durable":
            raise DefinitionError(f"{owner}.Meta.kind {options.kind!r} is reserved; the kind that exists is 'durable'.")
        for name in ("idle_seconds", "turn_timeout", "snapshot_every", "max_mailbox", "max_state_bytes"):
            value = getattr(options, name)
            if not limits.is_positive(value):
                raise DefinitionError(f"{owner}.Meta.{name} is a number above zero, not {value!r}.")
        if options.retention is not None and not limits.is_positive(options.retention):
            raise DefinitionError(f"{owner}.Meta.retention is a number of seconds above zero, not {options.retention!r}.")
        if not limits.is_positive(options.version) or options.version != int(options.version):
            raise DefinitionError(f"{owner}.Meta.version counts from 1, not {options.version!r}.")
        return options


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` or nothing."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
