"""``Transient`` attributes: each activation begins with defaults of its own, where they are containers."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

from jido_objects import DurableObject, Transient
from jido_objects.answers import Answer, Pending
from jido_objects.definition import Definition
from jido_objects.limits import encoded_size
from tests.contract.world import entry
from tests.sim.bench import Bench

LOCK = threading.Lock()
SHARED = (1, frozenset({2}))


class Cache(DurableObject):
    items: Transient[list[list[int]]] = [[]]
    table: Transient[dict[str, list[int]]] = {"a": []}
    tags: Transient[set[int]] = set()
    raw: Transient[bytearray] = bytearray(b"x")
    queue: Transient[deque[list[int]]] = deque([[]], maxlen=3)
    by_default: Transient[defaultdict[str, list[int]]] = defaultdict(list)
    counts: Transient[Counter[str]] = Counter("a")
    ordered: Transient[OrderedDict[str, list[int]]] = OrderedDict(a=[])
    lock: Transient[Any] = LOCK
    shared: Transient[Any] = SHARED
    kind: Transient[Any] = threading.Lock
    nothing: Transient[Any]

    def change(self) -> None:
        self.items.append([1])
        self.items[0].append(1)
        self.table["a"].append(1)
        self.tags.add(1)
        self.raw.extend(b"y")
        self.queue[0].append(1)
        self.queue.append([])
        self.by_default["a"].append(1)
        self.counts["a"] += 1
        self.ordered["a"].append(1)

    def look(self) -> list[Any]:
        queue = [list(one) for one in self.queue]
        table = [self.table["a"], dict(self.by_default), dict(self.counts), self.ordered["a"]]
        return [self.items, table, sorted(self.tags), self.raw.decode(), queue, self.queue.maxlen]

    def same(self) -> list[bool]:
        return [self.lock is LOCK, self.shared is SHARED, self.kind is threading.Lock, self.nothing is None]

    class Meta:
        label = "unit.Cache"


# Only this test knows it.
TYPES = {"unit.Cache": Definition.registry.pop("unit.Cache")}
FRESH = [[[]], [[], {}, {"a": 1}, []], [], "x", [[]], 3]


def test_each_activation_has_its_own() -> None:
    async def story(bench: Bench) -> None:
        host = await bench.process(keeper=True)
        for key in "ab":
            # With a row, so that it stays in memory.
            await host.send(key, "look", call_id="one")
        await host.send("a", "change")
        assert await host.send("b", "look") == FRESH
        assert await host.send("a", "look") == [[[1], [1]], [[1], {"a": [1]}, {"a": 2}, [1]], [1], "xy", [[1], []], 3]
        host.host.hibernate(host.activation("a"))
        assert await host.send("a", "look") == FRESH
        assert await host.send("a", "same") == [True] * 4

    bench = Bench(TYPES)
    bench.run(story(bench))


def test_what_a_row_weighs_is_its_bytes() -> None:
    def size(text: str) -> int:
        return Pending(entry(1, delta=text, result=text), Answer(None, None, None, None)).size  # type: ignore[arg-type]

    assert size("😀" * 100) - size("") == 800
    assert size("a" * 100) - size("") == 200
    assert [encoded_size(text) for text in ("", "a", "é", "😀", "aé😀")] == [0, 1, 2, 4, 7]
