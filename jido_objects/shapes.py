"""What the state of an object type looks like when it is stored: a description that can be kept, compared and read by a person.

Kinds are described by their JSON, not by their Python names: a ``Literal["a", "b"]`` and a ``StrEnum`` of the same values, or two
dataclasses with the same fields, are one shape. ``changes`` says what has become of a type since its description was kept, and
which of it stored objects survive: a change is compatible when today's code reads every document *and every delta* that the
code before may have written. Where that is not certain, the answer is that it needs a version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, Final, TypeAlias

from .codec import DictKind, Kind, ListKind, SetKind
from .codec.containers import TupleKind, UnionKind
from .codec.dynamic import DynamicKind
from .codec.kinds import from_json, to_sorted_json
from .codec.records import RecordKind
from .codec.scalars import ChoiceKind, EnumKind, Scalar
from .definition import Definition

Shape: TypeAlias = Any
"""The description of a kind: a name, or an object with one member that says how it is made of others."""

_NAMES: Final = {"None": "null"}
_TEXTUAL: Final = frozenset({"bytes", "Decimal", "datetime", "date", "time", "timedelta", "UUID"})
"""Scalars whose JSON is a string."""
_PLAIN: Final = frozenset({"null", "bool", "int", "float", "str"})


def described(definition: Definition) -> dict[str, Any]:
    """A type as it is kept: version, aliases and fields, each with its type and the JSON of its default."""
    fields = {
        name: {"type": shape_of(field.kind), "default": from_json(field.kind.encode_canonical(field.fresh()))}
        for name, field in definition.shape.items()
    }
    return {"version": definition.options.version, "aliases": list(definition.options.aliases), "fields": fields}


def shape_of(kind: Kind, above: tuple[RecordKind, ...] = ()) -> Shape:
    """The description of a kind."""
    match kind:
        case UnionKind():
            branches = sorted((shape_of(branch, above) for branch in kind.branches), key=to_sorted_json)
            return {"any of": branches}
        case ListKind():
            return {"list": shape_of(kind.item, above)}
        case SetKind():
            return {kind.cls.__name__: shape_of(kind.item, above)}
        case DictKind():
            return {"dict": [shape_of(kind.key, above), shape_of(kind.item, above)]}
        case TupleKind():
            return {"tuple": [*(shape_of(item, above) for item in kind.items), *(["…"] if kind.variadic else [])]}
        case DynamicKind():
            return "any"
        case ChoiceKind():
            return {"one of": sorted(kind.written, key=to_sorted_json)}
        case EnumKind():
            return {"one of": sorted({member.value for member in kind.cls}, key=to_sorted_json)}
        case RecordKind():
            return _record(kind, above)
        case Scalar():
            return _NAMES.get(kind.name, kind.name)
    raise AssertionError(f"no description of {kind!r}")


def _record(kind: RecordKind, above: tuple[RecordKind, ...]) -> Shape:
    if kind in above:
        return {"again": len(above) - above.index(kind)}
    above = (*above, kind)
    if kind.array:
        return {"tuple": [*([{"one of": [kind.tag[1]]}] if kind.tag else []), *(shape_of(field.kind, above) for field in kind.fields)]}
    fields = {}
    for field in kind.fields:
        required = field.default is MISSING and field.factory is MISSING
        fields[field.json] = {"type": shape_of(field.kind, above), **({"required": True} if required else {})}
    return {"object": fields, **({"tag": list(kind.tag)} if kind.tag else {})}


# ---------------------------------------------------------------- what today's code can read


def reads(new: Shape, old: Shape) -> bool:
    """Whether code with the shape ``new`` reads what code with the shape ``old`` wrote, deltas included."""
    if _alike(new, old):
        return True
    if isinstance(old, dict) and "any of" in old:
        return all(reads(new, branch) for branch in old["any of"])
    if isinstance(new, dict) and "any of" in new:
        return any(reads(branch, old) for branch in new["any of"])
    if isinstance(old, dict) and "one of" in old:
        return _reads_choice(new, old["one of"])
    if isinstance(new, str):
        # An int is read as a float; what is written as a string is read as one; any reads JSON as it is.
        if new == "any":
            return _is_plain(old)
        return (new, old) == ("float", "int") or (new == "str" and old in _TEXTUAL)
    if isinstance(old, str):
        return False
    return _reads_container(new, old)


def _alike(one: Any, other: Any) -> bool:
    """Whether two pieces of JSON are the same; to Python 1 is True."""
    return to_sorted_json(one) == to_sorted_json(other)


def _reads_choice(new: Shape, values: list[Any]) -> bool:
    if isinstance(new, dict) and "one of" in new:
        return all(any(_alike(one, value) for one in new["one of"]) for value in values)
    names = {str: "str", int: "int", bool: "bool", type(None): "null"}
    return isinstance(new, str) and all(reads(new, names[type(value)]) for value in values)


def _is_plain(shape: Shape) -> bool:
    # Not dicts: a key that begins with $ is a tag where there is no annotation.
    if isinstance(shape, dict) and set(shape) == {"list"}:
        return _is_plain(shape["list"])
    return isinstance(shape, str) and shape in _PLAIN


def _reads_container(new: dict[str, Any], old: dict[str, Any]) -> bool:
    ((made, inner),) = [(name, part) for name, part in new.items() if name != "tag"]
    ((was, before),) = [(name, part) for name, part in old.items() if name != "tag"]
    if made == was in ("list", "set", "frozenset"):
        return reads(inner, before)
    if made == was == "dict":
        return _alike(inner[0], before[0]) and reads(inner[1], before[1])
    # Immutable before, so that deltas hold it only as a whole; the other way a delta would say "append" to a tuple.
    if (made, was) == ("set", "frozenset"):
        return reads(inner, before)
    if was == "tuple" and made == "list":
        return all(reads(inner, one) for one in before if one != "…")
    if made == was == "tuple":
        return _reads_tuple(inner, before)
    if made == was == "object":
        return new.get("tag") == old.get("tag") and _reads_record(inner, before)
    return False


def _reads_tuple(new: list[Shape], old: list[Shape]) -> bool:
    if new[-1:] == ["…"]:
        return all(reads(new[0], one) for one in old if one != "…")
    return len(new) == len(old) and old[-1:] != ["…"] and all(map(reads, new, old))


def _reads_record(new: dict[str, Any], old: dict[str, Any]) -> bool:
    # A field that the class no longer has would be dropped with the next write.
    if not old.keys() <= new.keys():
        return False
    return all(reads(field["type"], old[name]["type"]) if name in old else not field.get("required") for name, field in new.items())


# ---------------------------------------------------------------- what has changed


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what was kept and what the code says now."""

    label: str
    what: str
    breaks: bool = False
    """Whether stored objects need more than the change: ``what`` says what."""

    def __str__(self) -> str:
        return f"{self.label}{self.what}"


def changes(kept: Mapping[str, dict[str, Any]], types: Mapping[str, Definition]) -> Iterator[Change]:
    """What has become of the types that were kept, by label, and which are new."""
    seen: set[str] = set()
    for definition in types.values():
        befores = [label for label in definition.labels if label in kept]
        seen.update(befores)
        if not befores:
            yield Change(definition.label, ": a new type")
            continue
        if befores[0] != definition.label:
            yield Change(definition.label, f": was {befores[0]}, whose objects it finds (Meta.aliases)")
        yield from _changes(definition, kept[befores[0]], befores[0])
    for label in kept:
        if label not in seen:
            yield Change(
                label,
                " is gone, and what is stored of it would not be found. If it has a new name or app, give that type "
                f"Meta.aliases = ({label!r},); if it is no longer wanted, accept that (jido_schema --accept)",
                breaks=True,
            )


def _changes(definition: Definition, before: dict[str, Any], label: str) -> Iterator[Change]:
    now, name = described(definition), definition.label
    was, version = before["version"], now["version"]
    known = [label, *before["aliases"]]
    lost = [alias for alias in known if alias not in definition.labels]
    if lost:
        yield Change(name, f": Meta.aliases has lost {', '.join(map(repr, lost))}; what is stored under it would not be found", breaks=True)
    elif before["aliases"] and now["aliases"][:1] != before["aliases"][:1]:
        yield Change(
            name, f": Meta.aliases must begin with {before['aliases'][0]!r}, the oldest: new objects are stored under it", breaks=True
        )
    elif now["aliases"] != before["aliases"] and label == name:
        yield Change(name, f": Meta.aliases is {tuple(now['aliases'])!r}, was {tuple(before['aliases'])!r}")
    if version < was:
        yield Change(name, f": Meta.version is {version}, was {was}; it never falls, objects of {was} would be refused", breaks=True)
    elif version > was:
        yield from _raised(definition, was, version)
    else:
        yield from _fields(name, version, before["fields"], now["fields"])


def _raised(definition: Definition, was: int, version: int) -> Iterator[Change]:
    missing = [step for step in range(was, version) if step not in definition.upcasters]
    if missing:
        steps = " and ".join(f"@migrates(from_version={step})" for step in missing)
        yield Change(
            definition.label, f": Meta.version is {version}, was {was}, and nothing brings stored objects there: write {steps}", breaks=True
        )
    else:
        yield Change(definition.label, f": version {version}, was {was}; stored objects are brought forward")


def _fields(name: str, version: int, before: dict[str, Any], now: dict[str, Any]) -> Iterator[Change]:
    bump = f"set Meta.version = {version + 1} and write @migrates(from_version={version})"
    gone, added = [field for field in before if field not in now], [field for field in now if field not in before]
    for field in gone:
        twin = next((new for new in added if reads(now[new]["type"], before[field]["type"])), None)
        hint = f"state.pop({field!r})" if twin is None else f"state[{twin!r}] = state.pop({field!r}), if it was renamed"
        yield Change(
            f"{name}.{field}", f" was removed, its value would stay in each object and be read by nothing: {bump}: {hint}", breaks=True
        )
    for field in added:
        yield Change(f"{name}.{field}", " was added; stored objects have its default")
    for field, old in before.items():
        new = now.get(field)
        if new is None:
            continue
        if not _alike(new["type"], old["type"]):
            said = f" is {text(new['type'])}, was {text(old['type'])}"
            if reads(new["type"], old["type"]):
                yield Change(f"{name}.{field}", f"{said}, which it still reads")
            else:
                yield Change(f"{name}.{field}", f"{said}: stored values may not be readable: {bump} that converts them", breaks=True)
        if not _alike(new["default"], old["default"]):
            told = f" has the default {text(new['default'])}, was {text(old['default'])}"
            yield Change(f"{name}.{field}", f"{told}; stored objects keep the value they have")


def text(value: Any) -> str:
    """A shape or a default in a message."""
    if isinstance(value, str):
        return value or "''"
    told = to_sorted_json(value).decode()
    return told if len(told) <= 100 else f"{told[:99]}…"
