"""The fields that every log record of the library carries, so that a JSON formatter has them and a format string may name them.

``object_type``, ``object_key``, ``method``, ``call_id`` and ``term`` are on each record, ``None`` where they do not apply. Arguments,
results and state are never among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from .turns import Call, Name

FIELDS = ("object_type", "object_key", "method", "call_id", "term")


def about(call: Call | None = None, *, name: Name | None = None, term: UUID | None = None) -> dict[str, str | None]:
    """``extra`` of a record that is about this call, this object, this term, or about none of them."""
    if call is not None:
        name = call.name
    return {
        "object_type": None if name is None else name[0],
        "object_key": None if name is None else name[1],
        "method": None if call is None else call.method.name,
        "call_id": None if call is None else call.call_id,
        "term": None if term is None else str(term),
    }
