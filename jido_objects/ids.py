"""Call ids: generated ones are ordered by time and can be told from a caller's own.

A generated id is ``~`` and 32 hex digits: 12 of milliseconds since 1970, 4 of a counter, 16 of randomness that belongs
to the process. It costs a string concatenation, not a system call: one is made for every call.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import time

from .errors import InvalidArguments
from .limits import CALL_ID_BYTES

GENERATED = "~[0-9a-f]{32}"
"""What a generated id looks like, as a regular expression."""
_GENERATED = re.compile(GENERATED)


class _Generator:
    def __init__(self) -> None:
        self.reseed()

    def reseed(self) -> None:
        self._process = os.urandom(8).hex()
        self._counter = itertools.count(int.from_bytes(os.urandom(2)))
        self._milliseconds = 0
        self._prefix = ""

    def __call__(self) -> str:
        milliseconds = time.time_ns() // 1_000_000
        if milliseconds != self._milliseconds:
            self._prefix = f"~{milliseconds:012x}"
            self._milliseconds = milliseconds
        return f"{self._prefix}{next(self._counter) & 0xFFFF:04x}{self._process}"


generate = _Generator()
"""Return a new call id."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=generate.reseed)


def is_generated(call_id: str) -> bool:
    """Whether ``generate`` made this id, here or in another process."""
    return _GENERATED.fullmatch(call_id) is not None


def looks_generated(call_id: str) -> bool:
    """``is_generated`` for an id that is not a caller's own: generated, or derived from another by ``nested``. Cheaper."""
    return len(call_id) == 33 and call_id[0] == "~"


def generated_at(call_id: str) -> float:
    """Seconds since 1970 at which a generated id was made, by its maker's clock."""
    return generated_ms(call_id) / 1000


def prefix(seconds: float) -> str:
    """What every id that was generated earlier is less than."""
    return f"~{int(seconds * 1000):012x}"


def generated_ms(call_id: str) -> int:
    """Milliseconds since 1970 at which a generated id was made, by its maker's clock; exact, to be compared."""
    return int(call_id[1:13], 16)


def nested(parent: str, *path: str) -> str:
    """Id of a call made by the call ``parent``: the same again when the parent is run again, and ``path`` is the same.

    The path names the object that makes it: one id may be used on two keys, and these are two calls.
    """
    digest = hashlib.blake2b("\0".join((parent, *path)).encode(), digest_size=10).hexdigest()
    if is_generated(parent):
        return f"{parent[:13]}{digest[:20]}"[:33].ljust(33, "0")
    return f"{parent.encode()[: CALL_ID_BYTES - 22].decode(errors='ignore')}/{digest}"


def check(call_id: object) -> str:
    """Return a caller's own id if it can be one, else raise ``InvalidArguments``."""
    if not isinstance(call_id, str) or not call_id:
        raise InvalidArguments(f"A call_id is a non-empty string, not {call_id!r}.")
    if len(call_id.encode("utf-8", "replace")) > CALL_ID_BYTES or not call_id.isprintable():
        raise InvalidArguments(f"A call_id has at most {CALL_ID_BYTES} bytes and no control characters: {call_id[:40]!r}.")
    return call_id
