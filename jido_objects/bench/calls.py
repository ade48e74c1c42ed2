"""The first block: what a call costs, beside what the same work costs without durable objects."""

from __future__ import annotations

from collections.abc import Callable

from .sides import BareInserts, Django, ObjectReads, Objects, SharedObjects
from .stage import Stage
from .stats import Ratio, Side, Target, Workload, p50


def hot_key(stage: Stage) -> Workload:
    n = stage.callers
    sides: dict[str, Side] = {
        "ours": Objects(stage, "one durable object", "async"),
        "django": Django(stage, "Django, row lock and history", "threads"),
        "bare": BareInserts(stage, "driver, 64 rows per insert", 64),
    }
    return Workload(
        "hot-key",
        f"hot key, {n} callers",
        sides,
        [
            Ratio(f"hot key, {n} callers", "ours", "django", target=Target(80)),
            Ratio(f"hot key, {n} callers, rows/s", "ours", "bare", target=Target(0.4)),
        ],
        parts=4,
    )


def hot_key_threads(stage: Stage) -> Workload:
    n = stage.callers
    sides: dict[str, Side] = {
        "ours": Objects(stage, "one durable object, threads", "threads"),
        "django": Django(stage, "Django, row lock and history", "threads"),
    }
    return Workload("hot-key-threads", f"hot key, {n} threads", sides, [Ratio(f"hot key, {n} threads of sync code", "ours", "django")])


def many_keys(stage: Stage) -> Workload:
    n = stage.callers
    sides: dict[str, Side] = {
        "ours": Objects(stage, "1,000 durable objects", "async", keys=1000),
        "django": Django(stage, "Django on 1,000 rows", "threads", keys=1000),
    }
    title = f"1,000 keys, {n} callers"
    return Workload("many-keys", title, sides, [Ratio(title, "ours", "django", target=Target(30))], parts=2)


def one_caller(stage: Stage) -> Workload:
    sides: dict[str, Side] = {
        "async": Objects(stage, "async caller", "async", callers=1),
        "sync": Objects(stage, "sync caller", "sync"),
        "bare": BareInserts(stage, "driver, one insert"),
        "django": Django(stage, "Django, row lock and history", "sync"),
    }
    return Workload(
        "one-caller",
        "one caller, one key",
        sides,
        [
            Ratio("one async caller, p50", "async", "bare", p50, Target(1.5, at_most=True)),
            Ratio("one sync caller, p50", "sync", "bare", p50, Target(1.8, at_most=True)),
            Ratio("one async caller, p50", "async", "django", p50),
        ],
        parts=8,
    )


def transactional(stage: Stage) -> Workload:
    n = stage.callers
    sides: dict[str, Side] = {
        "ours": SharedObjects(stage, "one object, @transactional", "async"),
        "django": Django(stage, "Django, row lock and history", "threads"),
        "one": SharedObjects(stage, "@transactional, async caller", "async", callers=1),
        "django-one": Django(stage, "Django, row lock and history", "sync"),
    }
    return Workload(
        "transactional",
        "object and ORM row in one transaction",
        sides,
        [
            Ratio(f"@transactional with the same row, hot key, {n} callers", "ours", "django", target=Target(1)),
            Ratio("@transactional with the same row, one async caller, p50", "one", "django-one", p50),
        ],
        parts=2,
    )


def reads(stage: Stage) -> Workload:
    n = stage.callers
    sides: dict[str, Side] = {
        "ours": ObjectReads(stage, "live object", "async"),
        "django": Django(stage, "Django get(pk=…)", "threads", reads=True, history=False),
        "async": ObjectReads(stage, "live object, async caller", "async", callers=1),
        "sync": ObjectReads(stage, "live object, sync caller", "sync"),
        "one": Django(stage, "Django get(pk=…)", "sync", reads=True, history=False),
    }
    return Workload(
        "reads",
        "read of a live object",
        sides,
        [
            Ratio(f"read of a live object, {n} callers", "ours", "django", target=Target(10)),
            Ratio("the same, one async caller", "async", "one"),
            Ratio("the same, one sync caller", "sync", "one"),
        ],
        parts=2,
    )


BLOCK: dict[str, Callable[[Stage], Workload]] = {
    "hot-key": hot_key,
    "hot-key-threads": hot_key_threads,
    "many-keys": many_keys,
    "one-caller": one_caller,
    "transactional": transactional,
    "reads": reads,
}
