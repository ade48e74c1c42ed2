"""Kinds: what the codec knows about one type.

A kind turns values into JSON text that a person can read, and back into the same values. It keeps one invariant: what
``take`` lets in is exactly what ``decode(encode(value))`` gives back, type for type. So a restored object equals the live
one, and a value that JSON would bend (a NaN, half a surrogate pair, a subclass of ``str``) is refused or made plain at the
border and never later. Nothing is coerced besides ``int`` to ``float`` and to ``Decimal``, which lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import CoroutineType
from typing import Any, Final, get_origin

import msgspec

from ..errors import InvalidValue
from ..limits import NESTING

JSON = Any
"""What ``msgspec.json.decode`` returns without a type: None, bool, int, float, str, list and dict with string keys."""

FORMS: Final = {type(None): "null", bool: "bool", int: "int", float: "float", str: "string", list: "array", dict: "object"}
"""The forms of JSON, by what it is decoded to."""


class CorruptValue(ValueError):
    """JSON text that is no value of the kind that should read it."""


class Refused(Exception):
    """A value does not fit: the codec's inner signal, which learns on its way out where in the whole value it arose."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self.steps: list[str] = []

    def within(self, step: str) -> None:
        self.steps.append(step)

    def invalid(self, where: object) -> InvalidValue:
        return InvalidValue(f"{where}{''.join(reversed(self.steps))}", self.what)

    def corrupt(self) -> CorruptValue:
        place = "".join(reversed(self.steps))
        return CorruptValue(f"{place}: {self.what}" if place else self.what)


class Tracked:
    """Base of the containers of live state, so that the codec can read them without knowing them."""

    __slots__ = ()

    def live(self) -> Any:
        """The list, dict or set inside, without what this turn deleted; not a copy."""
        raise NotImplementedError


# ---------------------------------------------------------------- the two encoders and one decoder of JSON text

OPAQUE: Final[dict[type, Kind]] = {}
"""Immutable value types of higher floors, by class; filled by ``codec.register``."""


def _encode_other(value: Any) -> Any:
    if isinstance(value, Tracked):
        return value.live()
    kind = OPAQUE.get(type(value))
    if kind is None:
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return kind.plain_form(value)


def _decode_other(hint: Any, data: Any) -> Any:
    return OPAQUE[get_origin(hint) or hint].load(data)


to_json: Final = msgspec.json.Encoder(enc_hook=_encode_other).encode
to_sorted_json: Final = msgspec.json.Encoder(enc_hook=_encode_other, order="sorted").encode
from_json: Final = msgspec.json.Decoder().decode


def describe(value: object) -> str:
    """A value in an error message: short, with its type."""
    try:
        text = repr(value)
    except Exception:
        text = "<unprintable>"
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({type(value).__name__})"


def misfit(value: object, name: str, hint: str = "") -> Refused:
    """The refusal of a value that is not of the type that ``name`` names."""
    cls = type(value)
    if isinstance(value, CoroutineType):
        refused = Refused(
            f"expected {name}, got a coroutine; nobody awaited it: write await before it, or, where it is what a decorated "
            f"`async def` method returned, let the decorator use functools.wraps on an `async def` of its own that awaits the method"
        )
        # Nobody will: left to be collected, it would warn a second time, and far from here.
        value.close()
        return refused
    if hasattr(cls, "_meta"):
        hint = "; store its primary key"
    elif hasattr(cls, "as_manager"):
        hint = "; store a list of primary keys, or of plain values"
    elif cls.__name__ == "__proxy__":
        hint = "; wrap the lazy text in str()"
    return Refused(f"expected {name}, got {describe(value)}{hint}")


def too_deep() -> Refused:
    return Refused(f"nested deeper than {NESTING} containers, or contains itself; flatten it, or split it over several fields")


# ---------------------------------------------------------------- the base


class Kind:
    """One type, compiled. Values that came through ``take`` (or ``copy``) may be given to every other method."""

    name: str
    """As it would be annotated; for messages."""
    types: frozenset[type] = frozenset()
    """The exact classes of its values."""
    json: frozenset[str] = frozenset()
    """Forms its JSON can take: null, bool, int, float, string, array, object."""
    mutable: bool = False
    """Whether a value can be a list, dict or set."""
    native: bool = True
    """Whether msgspec encodes its values as they are."""
    typed: bool = True
    """Whether msgspec decodes ``spec`` to its values, and ``sure``: so that they need no second look."""
    sure: bool = True
    spec: Any = None
    unordered: bool = False
    """Whether canonical JSON takes more than sorting string keys: it holds sets, or dicts with other keys."""
    faithful: bool = True
    """Whether values that are equal, and of one class, have the same JSON (not so ``0.0`` and ``-0.0``)."""
    hashable: bool = True
    textual: bool = False
    """Whether a value can be the key of a JSON object."""
    native_key: bool = False
    """Whether msgspec encodes and decodes it as such."""
    blank: Callable[[], Any] | None = None
    """Makes the value of a field without a default."""
    tag: tuple[str, Any] | None = None
    """The member of its JSON objects that tells them from those of other kinds."""
    _decoder: Callable[[str | bytes], Any] | None = None

    def take(self, value: Any, depth: int = 0) -> Any:
        """``value`` validated, as a private deep copy that is plain; raises ``Refused``."""
        raise NotImplementedError

    def all_fit(self, values: Collection[Any]) -> bool:
        """Whether ``take`` would return each of these as it is; may say no where that is not quick to see."""
        return False

    def dump(self, value: Any, canonical: bool = False) -> Any:
        """What the encoders can encode: the value itself where ``native``."""
        return value

    def plain_form(self, value: Any) -> JSON:
        """The JSON of a value of an ``OPAQUE`` class, which msgspec does not know."""
        raise NotImplementedError

    def load(self, data: JSON, depth: int = 0) -> Any:
        """The value of decoded JSON; raises ``Refused``, ``msgspec.ValidationError`` or another ``ValueError``."""
        value = msgspec.convert(data, self.spec, dec_hook=_decode_other, str_keys=True)
        return value if self.sure else self.take(value, depth)

    def text(self, value: Any) -> str:
        """A ``textual`` value as the key of a JSON object."""
        return to_json(value)[1:-1].decode()

    def from_text(self, text: str) -> Any:
        """The value of such a key."""
        return self.load(text)

    def container(self, raw: Any) -> Any:
        """The ``ListKind``, ``DictKind`` or ``SetKind`` of ``raw``, a plain container that is a value of this kind."""
        raise AssertionError(f"{self.name} holds no containers")

    def copy(self, value: Any, where: object) -> Any:
        """Return ``value`` validated, as a private and plain deep copy (immutables as they are).

        ``where`` names the place in messages; it is turned into a string only then. Raises ``InvalidValue``.
        """
        try:
            return self.take(value)
        except Refused as refused:
            raise refused.invalid(where) from None

    def encode(self, value: Any) -> str:
        """JSON text of a valid value; dicts keep their order."""
        return to_json(self.dump(value)).decode()

    def encode_canonical(self, value: Any) -> str:
        """JSON text that is equal for equal state: keys and sets sorted."""
        return to_sorted_json(self.dump(value, True)).decode()

    def decode(self, text: str | bytes) -> Any:
        """The value of JSON text. Strict; raises ``CorruptValue``."""
        try:
            if self.typed:
                if self._decoder is None:
                    self._decoder = msgspec.json.Decoder(self.spec, dec_hook=_decode_other).decode
                value = self._decoder(text)
                return value if self.sure else self.take(value)
            return self.load(from_json(text))
        except Refused as refused:
            raise refused.corrupt() from None
        except RecursionError:
            raise CorruptValue(too_deep().what) from None
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise CorruptValue(f"{error} (reading {self.name})") from error

    def __repr__(self) -> str:
        return f"<Kind {self.name}>"
