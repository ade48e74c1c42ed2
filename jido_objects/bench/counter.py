"""The object types that are measured: registered when this module is imported, which only a bench does."""

from __future__ import annotations

from .. import DurableObject, query, transactional
from . import baseline
from .names import APP


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


class BenchShared(BenchCounter):
    """The same, together with a row of the application's own in one transaction."""

    @transactional
    def add_shared(self, alias: str, pk: int, n: int = 1) -> int:
        counter = baseline.Counter.objects.using(alias).select_for_update().get(pk=pk)
        counter.value += n
        counter.save(using=alias)
        self.value += n
        return self.value

    class Meta:
        label = f"{APP}.Shared"


TYPES: tuple[type[DurableObject], ...] = (BenchCounter, BenchShared)
