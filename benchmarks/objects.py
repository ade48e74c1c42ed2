"""Object types that only the tables of scale need."""

from __future__ import annotations

from jido_objects import DurableObject, query
from jido_objects.bench.names import APP


class Ledger(DurableObject):
    """Containers of any size, of which a turn touches one element."""

    accounts: dict[str, int] = {}
    rows: list[int] = []
    marks: set[int] = set()
    pages: dict[str, dict[str, int]] = {}

    def fill(self, kind: str, size: int) -> int:
        if kind == "dict":
            self.accounts = {f"account-{n}": 0 for n in range(size)}
        elif kind == "list":
            self.rows = [0] * size
        elif kind == "set":
            self.marks = set(range(size))
        else:
            self.pages = {f"page-{n}": {f"line-{m}": 0 for m in range(10)} for n in range(size // 10)}
        return size

    def touch_dict(self, n: int) -> int:
        self.accounts[f"account-{n}"] += 1
        return self.accounts[f"account-{n}"]

    def touch_list(self, n: int) -> int:
        self.rows[n] += 1
        return self.rows[n]

    def touch_set(self, n: int) -> bool:
        if n in self.marks:
            self.marks.discard(n)
            return False
        self.marks.add(n)
        return True

    def touch_nested(self, n: int) -> int:
        line = self.pages[f"page-{n // 10}"]
        line[f"line-{n % 10}"] += 1
        return line[f"line-{n % 10}"]

    @query
    def total(self, kind: str) -> int:
        """How often elements were touched; of a set, how many of its elements are there."""
        if kind == "dict":
            return sum(self.accounts.values())
        if kind == "list":
            return sum(self.rows)
        if kind == "set":
            return len(self.marks)
        return sum(sum(page.values()) for page in self.pages.values())

    class Meta:
        label = f"{APP}.Ledger"


class Seat(DurableObject):
    """The small state of one of many."""

    row: int = 0
    holder: str = ""

    def take(self, holder: str) -> int:
        self.row += 1
        self.holder = holder
        return self.row

    @query
    def who(self) -> str:
        return self.holder

    class Meta:
        label = f"{APP}.Seat"
        idle_seconds = 3600.0
