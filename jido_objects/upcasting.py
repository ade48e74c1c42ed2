"""State that older code wrote, brought forward: upcasters of an object type, and the replay that uses them.

An upcaster turns the document of version ``n`` into that of version ``n + 1``. Both are JSON as it is stored, because the
classes that knew the old shape are gone: the old version's document is rebuilt without types (``delta``) up to the row where
the version changes, brought forward, and only then read by today's code. Every row carries the version of its writer and no
row follows one of a newer version, so what is stored says by itself where each step belongs.

Invariant: an upcaster is a function of the document alone and writes nothing. An object that cannot be brought forward is
refused with an error that says what to do; what is stored stays as it was, and other objects are served.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .codec.kinds import from_json, to_json
from .delta import apply
from .errors import CorruptObject, DefinitionError, MigrationFailed, MigrationGap
from .limits import NESTING
from .stores.protocol import EntryKind, Loaded, TailEntry
from .turns import Name, describe

if TYPE_CHECKING:
    from .definition import Definition

from .logs import about

logger = logging.getLogger("jido_objects.turn")

Document: TypeAlias = dict[str, Any]
"""A state as it is stored: fields by name, their values as JSON."""

U = TypeVar("U", bound="Callable[[Document], Document] | staticmethod[[Document], Document]")


class Upcaster(staticmethod):  # type: ignore[type-arg]
    """What ``migrates`` makes of a function: a static method that knows from which version it leads."""

    from_version: int


def migrates(*, from_version: int) -> Callable[[U], U]:
    """Mark the function that brings a stored document of ``from_version`` to the next version.

    It stands in the class body, with or without ``@staticmethod``, and takes no ``self``: there is no object yet. It gets the
    document as a plain dict that is its own, fields by name with their values as JSON, may change it, and returns the document
    of the next version. It must be pure: it runs again whenever an object rests in the old version. ``from_version`` is an
    int from 1; raises ``DefinitionError``.
    """
    if type(from_version) is not int or from_version < 1:
        raise DefinitionError(f"@migrates(from_version=…) takes the version that it leads from, an int from 1, not {from_version!r}.")

    def mark(function: Any) -> Any:
        plain = function.__func__ if isinstance(function, staticmethod) else function
        name = getattr(plain, "__qualname__", repr(plain))
        if isinstance(function, classmethod) or not callable(plain):
            raise DefinitionError(f"{name}: @migrates marks a plain function of the document: def {_named(plain)}(state) -> state.")
        if inspect.iscoroutinefunction(plain) or inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
            raise DefinitionError(f"{name}: a migration of state is pure and cannot be async or a generator; write a plain `def`.")
        _check_signature(name, plain)
        upcaster = Upcaster(plain)
        upcaster.from_version = from_version
        return upcaster

    return mark


def _named(function: Any) -> str:
    return str(getattr(function, "__name__", "to_next"))


def _check_signature(name: str, function: Callable[..., Any]) -> None:
    parameters = list(inspect.signature(function).parameters.values())
    first = parameters[0] if parameters else None
    positional = first is not None and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD, first.VAR_POSITIONAL)
    needed = [one for one in parameters if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if not positional or len(needed) > 1 or (first is not None and first.name in ("self", "cls")):
        given = ", ".join(one.name for one in parameters)
        raise DefinitionError(
            f"{name}({given}): @migrates marks a function of one argument, the stored document, without self: "
            f"def {_named(function)}(state: dict[str, Any]) -> dict[str, Any]."
        )


def upcasters_of(cls: type, version: int) -> dict[int, Callable[[Document], Document]]:
    """The upcasters of a class and its bases by the version they lead from, complete up to ``version``.

    The oldest steps may be missing: nothing is stored in those versions any more. Raises ``DefinitionError`` for a hole.
    """
    found: dict[int, Callable[[Document], Document]] = {}
    for base in reversed(cls.__mro__):
        own: dict[int, str] = {}
        for name, value in vars(base).items():
            inner = value.__func__ if isinstance(value, staticmethod) and not isinstance(value, Upcaster) else value
            if not isinstance(inner, Upcaster):
                continue
            step = inner.from_version
            if step in own:
                raise DefinitionError(f"{cls.__name__}: {own[step]} and {name} both migrate from version {step}; one of them is too many.")
            if base is cls and step >= version:
                raise DefinitionError(
                    f"{cls.__name__}.{name} migrates from version {step}, and Meta.version is {version}: set Meta.version = {step + 1}."
                )
            own[step] = name
            found[step] = inner.__func__
    found = {step: function for step, function in found.items() if step < version}
    for step in range(min(found, default=version), version):
        if step not in found:
            raise DefinitionError(
                f"{cls.__name__} has a migration from version {min(found)} but none from version {step}, and Meta.version is "
                f"{version}: write @migrates(from_version={step})."
            )
    return found


# ---------------------------------------------------------------- bringing an object forward


def bring_forward(definition: Definition, name: Name, loaded: Loaded) -> tuple[str, int, list[TailEntry]]:
    """The document that today's code reads, the seq at which it stands, and the rows after it, which today's code wrote.

    Raises ``CorruptObject``, ``MigrationGap``, ``MigrationFailed``, and what ``apply`` raises.
    """
    today = definition.options.version
    document: Document = {}
    version: int | None = None
    seq = 0
    if loaded.snapshot is not None:
        document, version, seq = from_json(loaded.snapshot.document), loaded.snapshot.version, loaded.snapshot.seq
    rest = list(loaded.tail)
    while rest and rest[0].version != today:
        entry = rest.pop(0)
        if seq == 0 and entry.kind is EntryKind.DESTROY:
            # The history before it was trimmed: an object begins anew with its destruction.
            seq = entry.seq - 1
        if entry.seq != seq + 1:
            raise CorruptObject(describe(name), f"its journal has row {entry.seq} after {seq}")
        seq = entry.seq
        if version is not None and entry.version < version:
            raise CorruptObject(describe(name), f"journal row {seq} is of state version {entry.version}, after rows of version {version}")
        if version is not None:
            document = _upcast(definition, name, document, version, entry.version)
        version = entry.version
        if entry.kind is EntryKind.DESTROY:
            document, version = {}, None
        elif entry.delta != "[]":
            apply(document, entry.delta)
    if version is not None:
        document = _upcast(definition, name, document, version, today)
    return to_json(document).decode(), seq, rest


def _upcast(definition: Definition, name: Name, document: Document, version: int, target: int) -> Document:
    for step in range(version, target):
        upcaster = definition.upcasters.get(step)
        if upcaster is None:
            raise MigrationGap(describe(name), step, definition.cls.__name__, definition.options.version)
        try:
            document = upcaster(document)
        except Exception as error:
            logger.exception("%s: the migration from state version %d raised", describe(name), step, extra=about(name=name))
            raise MigrationFailed(describe(name), step, step + 1, f"it raised {type(error).__name__}: {error}") from error
        wrong = _nonsense(document)
        if wrong is not None:
            raise MigrationFailed(describe(name), step, step + 1, wrong)
        # A copy: rows that follow change it, and a part of it may be a constant of the upcaster's module.
        document = from_json(to_json(document))
    return document


def _nonsense(document: object) -> str | None:
    """What is wrong with what an upcaster returned."""
    if type(document) is not dict:
        returned = "nothing" if document is None else f"a {type(document).__name__}"
        return f"it returned {returned} instead of the document: end it with `return state`"
    return _not_json(document, "", 0)


def _not_json(value: Any, place: str, depth: int) -> str | None:
    if value is None or type(value) in (bool, int, str):
        return None
    if type(value) is float and math.isfinite(value):
        return None
    if depth > NESTING + 1:
        return f"what it returned is nested deeper than {NESTING} containers, or contains itself"
    if type(value) is list:
        parts: Any = enumerate(value)
    elif type(value) is dict:
        strange = next((key for key in value if type(key) is not str), None)
        if strange is not None:
            return f"state{place} has the key {strange!r}: keys of a document are strings, as JSON has them"
        parts = value.items()
    else:
        return f"state{place} is {value!r:.80} ({type(value).__name__}): values of a document are JSON, written as the journal has them"
    for key, part in parts:
        wrong = _not_json(part, f"{place}[{key!r}]", depth + 1)
        if wrong is not None:
            return wrong
    return None


def is_of(version: int, loaded: Loaded) -> bool:
    """Whether everything that is stored of an object was written by code of that version."""
    return all(entry.version == version for entry in loaded.tail) and (loaded.snapshot is None or loaded.snapshot.version == version)


def newest(loaded: Loaded) -> int:
    """The newest version that is stored; 0 where nothing is."""
    return max([0 if loaded.snapshot is None else loaded.snapshot.version, *(entry.version for entry in loaded.tail)])
