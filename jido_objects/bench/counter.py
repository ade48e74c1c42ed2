"""The object type that is measured: registered when this module is imported, which only a bench does."""

from __future__ import annotations

from .. import DurableObject, query

APP = "jido_bench"


class BenchCounter(DurableObject):
    """A durable counter: every call is committed before its reply, with its id and result in the journal."""

    value: int = 0

    def add(self, n: int = 1) -> int:
        self.value += n
        return self.value

    @query
    def read(self) -> int:
        return self.value

    class Meta:
        label = f"{APP}.Counter"
