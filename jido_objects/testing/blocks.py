"""Which ``atomic()`` blocks are a test's own transaction: Django marks those that ``TestCase`` opens."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


def blocks_of_testcase(connection: BaseDatabaseWrapper) -> list[Any]:
    """The blocks that ``TestCase`` has opened on this connection, the outermost first; none if the outermost is another's."""
    blocks: list[Any] = connection.atomic_blocks
    if not blocks or not blocks[0]._from_testcase:
        return []
    return [block for block in blocks if block._from_testcase]
