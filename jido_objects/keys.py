"""Keys: what names one object of a type.

A key is one string; several parts are escaped and joined by ``/``, so that ``at("a/b")`` and ``at("a", "b")`` are two
objects. Escaping follows URLs: ``%`` and ``/`` inside a part become ``%25`` and ``%2F``; nothing else changes, so a plain
part is its own key.
"""

from __future__ import annotations

import unicodedata
from uuid import UUID

from .errors import InvalidKey
from .limits import KEY_BYTES

SEPARATOR = "/"


_ANYTHING_ELSE = "use a string, an integer, a UUID or a saved model instance."


def _part(part: object) -> str:
    if type(part) is str:
        return part
    if isinstance(part, str):
        # A subclass, or something lazy that says it is a str: a key is the plain text.
        return str.__str__(part) if issubclass(type(part), str) else str(part)
    if isinstance(part, bool) or part is None:
        raise InvalidKey(f"{part!r} cannot be part of a key: {_ANYTHING_ELSE}")
    if isinstance(part, int | UUID):
        return str(part)
    if hasattr(part, "_meta") and hasattr(part, "pk"):
        if part.pk is None:
            raise InvalidKey(f"{part!r} has no primary key yet: save it before it names an object.")
        return str(part.pk)
    # What is lazy (`request.user`) has another type than what it stands for; its class is that one's.
    name = part.__class__.__name__
    which = f"{'An' if name[0] in 'AEIOUaeiou' else 'A'} {name} cannot be part of a key"
    if getattr(part, "is_anonymous", None) is True:
        raise InvalidKey(
            f"{which}: nobody is logged in. Require a login before (login_required), or choose another key for visitors, "
            f"such as request.session.session_key."
        )
    raise InvalidKey(f"{which}: {_ANYTHING_ELSE}")


def escape(part: str) -> str:
    """One part as it stands in a key."""
    return part.replace("%", "%25").replace(SEPARATOR, "%2F") if "%" in part or SEPARATOR in part else part


def unescape(part: str) -> str:
    """The part that ``escape`` was given."""
    return part.replace("%2F", SEPARATOR).replace("%25", "%") if "%" in part else part


def join(parts: tuple[object, ...]) -> str:
    """The key of some parts; a key without parts (a singleton's) is ``-``.

    Raises ``InvalidKey`` for an empty or ``None`` part, one that is not NFC or holds control characters, and for a key
    over 200 bytes.
    """
    if not parts:
        return "-"
    key = escape(_checked(_part(parts[0]))) if len(parts) == 1 else SEPARATOR.join(escape(_checked(_part(part))) for part in parts)
    return _bounded(key)


def split(key: str) -> tuple[str, ...]:
    """The parts of a key, as strings."""
    return tuple(unescape(part) for part in key.split(SEPARATOR))


def _checked(part: str) -> str:
    if not part:
        raise InvalidKey("A key part is empty: every part names something.")
    if part.isascii():
        if not part.isprintable():
            raise InvalidKey(f"The key part {part!r} holds control characters: remove them.")
        return part
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in part):
        raise InvalidKey(f"The key part {part!r} holds control characters or half a surrogate pair: remove them.")
    if not unicodedata.is_normalized("NFC", part):
        raise InvalidKey(f"The key part {part!r} is not in Unicode normal form C: pass unicodedata.normalize('NFC', part).")
    return part


def _bounded(key: str) -> str:
    size = len(key) if key.isascii() else len(key.encode())
    if size > KEY_BYTES:
        raise InvalidKey(f"The key {key[:40]!r}… has {size} bytes; the limit is {KEY_BYTES}. Use a digest or a primary key.")
    return key
