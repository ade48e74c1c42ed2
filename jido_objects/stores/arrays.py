"""PostgreSQL array literals, built at the speed of ``str.join``: a batch is a dozen arrays, not a statement per row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SEPARATOR = "\x1f"
_NULL = "\x1e"


def plain(values: Iterable[object]) -> bytes:
    """An array of values whose text needs no quotes: numbers, UUIDs, timestamps, ``t`` and ``f``."""
    return ("{" + ",".join(map(str, values)) + "}").encode()


def texts(values: Sequence[str | None]) -> bytes:
    """An array of strings and ``None``. Raises ``ValueError`` for what PostgreSQL cannot hold: NUL, half a surrogate pair."""
    if not values:
        return b"{}"
    joined = _SEPARATOR.join([_NULL if value is None else value for value in values])
    if "\0" in joined:
        raise ValueError("text with a NUL character")
    # Names and JSON hold no control characters; what does is quoted one by one.
    if joined.count(_SEPARATOR) != len(values) - 1 or joined.count(_NULL) != values.count(None):
        return ("{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}").encode()
    return ("{" + _quoted(joined).replace(_SEPARATOR, '","') + "}").replace(f'"{_NULL}"', "NULL").encode()


def _quoted(value: str) -> str:
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if '"' in value:
        value = value.replace('"', '\\"')
    return f'"{value}"'
