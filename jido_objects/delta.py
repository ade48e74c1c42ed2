"""Deltas: what one turn changed, as the journal keeps it.

A delta is JSON text that a person can read, a list of operations in the order in which they were made:

``["set", "stock", 99]``                    a whole field
``["put", "holds", "ann", 1]``              the value of a key of a dict, or of an index of a list
``["del", "holds", "ann"]``                 a key, or an index
``["append", "log", 5]``                    one element at the end of a list
``["extend", "log", [6, 7]]``               several
``["insert", "log", 0, 4]``                 one element before an index
``["splice", "log", 1, 3, [8]]``            the elements from one index up to another, replaced
``["order", "log", [2, 0, 1]]``             a list becomes these of its elements, in this order
``["add", "tags", "a"]``                    an element of a set
``["discard", "tags", "a"]``
``["clear", "holds"]``                      a list or a dict
``["empty", "tags"]``                       a set

Where a container is nested, its place is a list, ``["put", ["rows", 3, "ann"], "x", 1]``: the field, then for each step a
number (the index in a list), a string (the key in a dict, as it stands in the JSON object) or a list of one (the key in a
dict that is written as a list of pairs). So an operation says by itself how to change the JSON, without the types: ``apply``
brings a document up to date that holds fields which this code does not know.
"""

from __future__ import annotations

from typing import Any

from .codec.kinds import JSON, CorruptValue, from_json


def apply(document: dict[str, JSON], delta: str | bytes) -> None:
    """Change a decoded document as a delta says. Raises ``CorruptValue`` where it does not fit."""
    for op in from_json(delta):
        apply_op(document, op)


def apply_op(document: dict[str, JSON], op: list[Any]) -> None:
    """Change a decoded document as one operation says."""
    try:
        if op[0] == "set":
            document[op[1]] = op[2]
        else:
            _change(document, op)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CorruptValue(f"the operation {op!r:.200} does not fit the state: {error!r}") from error


def _pair(pairs: list[list[JSON]], key: JSON) -> list[JSON]:
    return next(pair for pair in pairs if pair[0] == key)


def _step(target: Any, step: JSON) -> Any:
    if isinstance(step, list):
        return _pair(target, step[0])[1]
    return target[step]


def _change(document: dict[str, JSON], op: list[Any]) -> None:
    verb, path, *rest = op
    target: Any = document
    for step in [path] if isinstance(path, str) else path:
        target = _step(target, step)
    if verb in ("add", "discard", "empty") and isinstance(target, dict):
        # A set without annotation is tagged.
        target = target["$set"]
    match verb, rest:
        case "put", [list() as key, value]:
            try:
                _pair(target, key[0])[1] = value
            except StopIteration:
                target.append([key[0], value])
        case "put", [key, value]:
            target[key] = value
        case "del", [list() as key]:
            target.remove(_pair(target, key[0]))
        case "del", [key]:
            del target[key]
        case ("append" | "add"), [value]:
            target.append(value)
        case "extend", [values]:
            target.extend(values)
        case "insert", [index, value]:
            target.insert(index, value)
        case "splice", [start, stop, values]:
            target[start:stop] = values
        case "order", [positions]:
            target[:] = [target[position] for position in positions]
        case "discard", [value]:
            target.remove(value)
        case ("clear" | "empty"), []:
            target.clear()
        case _:
            raise ValueError("unknown operation")
