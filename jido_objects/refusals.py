"""How an ``ObjectException`` travels: by the label of its class and its arguments, rebuilt at the caller.

The class is found among the imported subclasses, never imported by a stored name. The caller gets an exception of its own,
also in the same process: the original's traceback would hand out the object's live state.
"""

from __future__ import annotations

import json
from typing import Any

from .codec import kind_of
from .errors import InvalidValue, ObjectException

_ARGUMENTS = kind_of(list[Any], where="an exception's arguments")


def encode(error: ObjectException) -> str | None:
    """JSON text of a refusal, or ``None`` if its arguments cannot be encoded."""
    try:
        arguments = _ARGUMENTS.encode(_ARGUMENTS.copy(list(error.args), type(error).__name__))
    except InvalidValue:
        return None
    return f'{{"refusal":{json.dumps(error.label())},"args":{arguments}}}'


def rebuild(text: str) -> ObjectException:
    """The exception of a recorded refusal; a plain ``ObjectException`` where its class is not known here."""
    recorded = json.loads(text)
    args = _ARGUMENTS.decode(json.dumps(recorded["args"]))
    cls = ObjectException.registry.get(recorded["refusal"], ObjectException)
    try:
        return cls(*args)
    except TypeError:
        # Its constructor takes something else than what it passed on: the arguments still say all it said.
        error = cls.__new__(cls)
        error.args = tuple(args)
        return error
