"""How an ``ObjectException`` travels: by the label of its class and its arguments, rebuilt at the caller.

The class is found among the imported subclasses, never imported by a stored name. The caller gets an exception of its own,
also in the same process: the original's traceback would hand out the object's live state.
"""

from __future__ import annotations

import json
from typing import Any

from .codec import kind_of
from .errors import InvalidValue, ObjectException

_VALUE = kind_of(Any, where="an exception's arguments")


def encode(error: ObjectException) -> str | None:
    """JSON text of a refusal, or ``None`` if its arguments cannot be encoded.

    What its constructor was given makes it again as it was; where that is no value (a model instance), what it handed on to
    ``Exception`` must do.
    """
    args, kwargs = error.given
    label = json.dumps(error.label())
    given = _encoded(error, list(args))
    named = _encoded(error, kwargs) if kwargs else ""
    if given is not None and named is not None:
        also = f',"kwargs":{named}' if named else ""
        return f'{{"refusal":{label},"args":{given}{also}}}'
    bare = _encoded(error, list(error.args))
    return None if bare is None else f'{{"refusal":{label},"args":{bare},"bare":true}}'


def _encoded(error: ObjectException, value: Any) -> str | None:
    try:
        return _VALUE.encode(_VALUE.copy(value, type(error).__name__))
    except InvalidValue:
        return None


def rebuild(text: str) -> ObjectException:
    """The exception of a recorded refusal; a plain ``ObjectException`` where its class is not known here."""
    recorded = json.loads(text)
    args = _VALUE.decode(json.dumps(recorded["args"]))
    kwargs = _VALUE.decode(json.dumps(recorded.get("kwargs", {})))
    cls = ObjectException.registry.get(recorded["refusal"], ObjectException)
    if "bare" not in recorded:
        try:
            return cls(*args, **kwargs)
        except Exception:
            # Its constructor has changed since: the arguments still say all it said.
            args = [*args, *kwargs.values()]
    error = cls.__new__(cls, *args)
    error.args = tuple(args)
    return error
