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
    """``class Meta`` of an object type. Seconds, bytes and counts."""

    label: str = ""
    key: tuple[str, ...] | None = None
    """Names of the key's parts; ``()`` is a singleton; ``None`` leaves the parts open."""
    kind: str = "durable"
    version: int = 1
    aliases: tuple[str, ...] = ()
    idle_seconds: float = limits.IDLE_SECONDS
    turn_timeout: float = limits.TURN_TIMEOUT
    snapshot_every: int = limits.SNAPSHOT_EVERY
    max_mailbox: int = limits.MAILBOX
    max_state_bytes: int = limits.STATE_BYTES
    retention: float | None = None
    expires: float | None = None
    index: tuple[str, ...] = ()
    region: str | None = None
    abstract: bool = False

    @classmethod
    def read(cls, owner: str, meta: type | None, inherited: Options | None = None) -> Options:
        """Check a ``class Meta`` and return its options; raises ``DefinitionError``.

        What it does not set is as in the base class, except for what names one type: label, aliases and abstract.
        """
        base = cls() if inherited is None else replace(inherited, label="", aliases=(), abstract=False)
        if meta is None:
            return base
        given: dict[str, Any] = {}
        for one in reversed(meta.__mro__[:-1]):
            given.update((name, value) for name, value in vars(one).items() if not name.startswith("__"))
        known = cls.__slots__
        for name in given:
            if name not in known:
                raise DefinitionError(f"{owner}.Meta has no option {name!r}{did_you_mean(name, known)}.")
        for name in ("key", "aliases", "index"):
            if isinstance(given.get(name), str):
                raise DefinitionError(f"{owner}.Meta.{name} is a tuple of names: write ({given[name]!r},).")
            if given.get(name) is not None:
                given[name] = tuple(given[name])
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
