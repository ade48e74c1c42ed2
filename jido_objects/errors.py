"""Every error a caller can meet, in one tree.

An error answers three questions by attributes, so that code never parses a message: was the call *applied* (``False``: no;
``None``: unknown, ask again with the same id), is it *retryable* as it stands, and which *call_id* names it. A class's
docstring is its message: ``{0}``, ``{1}`` are its arguments, and the last sentence says what the caller may do next.
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Self


def _message(error: BaseException, args: tuple[object, ...]) -> str:
    template = inspect.cleandoc(type(error).__doc__ or type(error).__name__)
    try:
        return " ".join(template.format(*args).split("\n"))
    except Exception:
        # A template may ask its arguments for anything ({0.name}), and an error that cannot be printed hides another one.
        return f"{template} {args!r}" if args else template


class JidoError(Exception):
    """jido_objects failed: {0}"""

    applied: bool | None = False
    """``False``: the call changed nothing. ``None``: unknown; the same ``call_id`` may be sent again to learn it. ``True``: it was
    applied, and only its answer is lost."""
    retryable: bool = False
    """Whether the same call, sent again unchanged, can succeed."""

    def __init__(self, *args: object, call_id: str | None = None) -> None:
        super().__init__(*args)
        # OSError, an ancestor of TimeoutError, reads arguments as (errno, strerror, file name) and keeps two.
        self.args = args
        self.call_id = call_id

    def __str__(self) -> str:
        return _message(self, self.args)


# ---------------------------------------------------------------- what is wrong with the code or the settings


class ConfigurationError(JidoError):
    """{0}"""


class DefinitionError(JidoError, TypeError):
    """{0}"""


class StateError(JidoError, RuntimeError):
    """{0}"""


class UndeclaredAttribute(StateError, AttributeError):
    """{0} has no attribute {1!r}{2}. Declare it in the class body: `{1}: int = 0` for state, `{1}: Transient[int] = 0` for memory only."""


# ---------------------------------------------------------------- what is wrong with the call


class InvalidKey(JidoError, ValueError):
    """{0}"""


class UnknownType(JidoError, LookupError):
    """There is no object type {0!r}{1}. Object types are the DurableObject subclasses in the `objects.py` of the installed apps."""


class UnknownMethod(JidoError, AttributeError):
    """{0} has no callable method {1!r}{2}."""


class UnknownField(JidoError, AttributeError):
    """{0} has no field or query {1!r}{2}."""


class UnknownAttribute(JidoError, AttributeError):
    """The ref {0!r} has no attribute {1!r}{2}."""


class InvalidArguments(JidoError, TypeError):
    """{0}"""


class InvalidValue(JidoError, ValueError, TypeError):
    """{0}: {1}"""


class BlockingCall(JidoError, RuntimeError):
    """{0}"""


class ReentrantCall(JidoError, RuntimeError):
    """{0}"""


# ---------------------------------------------------------------- limits


class LimitExceeded(JidoError):
    """{0}"""


class Overloaded(LimitExceeded):
    """{0} already has {1} calls waiting, its limit (Meta.max_mailbox). Slow down and send the call again."""

    retryable = True


class MessageTooLarge(LimitExceeded):
    """The arguments of {0} are {1} bytes; the limit is {2}. Store the bulk elsewhere and pass its name."""


class ResultTooLarge(LimitExceeded):
    """The result of {0} is {1} bytes; a recorded result may have {2}. Return a part, or read it with a @query. The turn was rolled back."""


class StateTooLarge(LimitExceeded):
    """The state of {0} would have {1} bytes; the limit is {2} (Meta.max_state_bytes). Split it over several keys, or move
    the bulk to a table. The turn was rolled back."""


# ---------------------------------------------------------------- what became of a call


class CallFailed(JidoError):
    """{0} raised {1}: {2}. The turn was rolled back; the traceback is in the host's log."""

    @property
    def type_name(self) -> str:
        """Name of the exception class that the method raised."""
        return str(self.args[1]) if len(self.args) > 1 else ""

    @property
    def message(self) -> str:
        """Text of the exception that the method raised."""
        return str(self.args[2]) if len(self.args) > 2 else ""


class TurnTimeout(JidoError, TimeoutError):
    """{0} was still running after {1} s (Meta.turn_timeout, or what the caller of a @transactional turn allowed) and was
    rolled back. Move long work out of the turn, or raise the limit."""


class CallTimeout(JidoError, TimeoutError):
    """{0} gave no answer within {1} s. It may still be applied: send it again with the same call_id ({2}) to learn its result."""

    applied = None
    retryable = True


class DeadlineExceeded(JidoError, TimeoutError):
    """{0} was not started before its deadline passed and will not run. Send it again with a longer timeout."""

    retryable = True


class CallIdReused(JidoError, ValueError):
    """The call id {0!r} was already used on {1} for another method or other arguments. A call id names one call: choose a new one."""


class UnreadableResult(JidoError):
    """The call of {0} was applied, once, but its recorded answer no longer fits the method: {1}. Let the return annotation fit what
    it returned then, or look at the state instead."""

    applied = True


class CallExpired(JidoError):
    """The call id {0!r} is older than the calls that are still remembered (for {1} s; of an object with a very long history for less).
    Whether it ran is no longer known: look at the state, then call again with a new id."""

    applied = None


class UnknownCall(JidoError, LookupError):
    """No call with the id {0!r} is recorded on {1}: it was never made, is still on its way, left no row, or its id is no longer
    remembered. Call with the same id to make sure that it is applied once."""

    applied = None


class OwnedElsewhere(JidoError):
    """{0} is owned by another live process ({1}), and this one has no transport to reach it (JIDO_OBJECTS['TRANSPORT']).
    Call it in that process, or let that process end; peek() and exists() work from here."""

    retryable = True


class HostStopped(JidoError):
    """This process stopped hosting objects before {0} ran. Send the call again."""

    retryable = True


class NotHosting(ConfigurationError):
    """{0} has no live owner and this process may not host it (JIDO_OBJECTS['HOST'] = 'never'). Start a process that hosts,
    or set HOST to 'auto'."""

    retryable = True


class OwnershipLost(JidoError):
    """{0} moved to another owner before the call was committed; it was not applied. Send the call again."""

    retryable = True


# ---------------------------------------------------------------- storage


class StoreError(JidoError):
    """{0}"""


class StoreUnavailable(StoreError):
    """The database did not answer: {0}. Nothing was changed; the call may be sent again."""

    retryable = True


class OutcomeUnknown(StoreError):
    """The connection to the database broke while {0} was being committed: {1}. Send it again with the same call_id to learn its result."""

    applied = None
    retryable = True


class NotMigrated(StoreError):
    """The tables of jido_objects are missing or old in database {0!r}: {1}. Run `manage.py migrate jido_objects --database {0}`."""


class ReadOnlyDatabase(StoreError):
    """Database {0!r} refuses writes: {1}. Point JIDO_OBJECTS['DATABASE'] at the primary."""

    retryable = True


class UnsupportedDatabase(StoreError, ConfigurationError):
    """{0}"""


class Unacceptable(StoreError):
    """The database cannot hold these rows, and would refuse them again: {0}"""


class CorruptObject(StoreError):
    """{0} cannot be loaded: {1}. Nothing was changed and other objects are served. If the class was changed, let its annotations fit
    what is stored; else inspect the journal, or restore it from a backup."""


class NewerVersion(StoreError):
    """{0} was written by newer code (state version {1}; this code knows {2}). Deploy the newer code here, or call it where that runs."""

    retryable = True


class MigrationGap(StoreError):
    """{0} was written by older code (state version {1}), and {2}, whose state version is {3}, has no migration from there.
    Write @migrates(from_version={1}) in {2}. Nothing was changed and other objects are served."""


class MigrationFailed(StoreError):
    """{0} cannot be brought from state version {1} to {2}: {3}. Correct @migrates(from_version={1}) and deploy it. Nothing was
    changed and other objects are served."""


# ---------------------------------------------------------------- the application's own


class ObjectException(Exception):
    """A refusal: an answer of the object that is not a result.

    Subclass it for what callers are meant to handle. The turn is rolled back, and the exception arrives at the caller as
    itself, from this process or another, rebuilt from what its constructor was called with. A docstring with ``{0}`` is its message.
    """

    applied: bool | None = False
    retryable: bool = False
    call_id: str | None = None
    given: tuple[tuple[Any, ...], dict[str, Any]]
    """What the constructor was called with."""
    registry: ClassVar[dict[str, type[ObjectException]]] = {}

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # What it is rebuilt from: a constructor of the subclass may hand something else on.
        error = super().__new__(cls, *args)
        error.given = (args, kwargs)
        return error

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ObjectException.registry[cls.label()] = cls

    @classmethod
    def label(cls) -> str:
        """Name under which a recorded refusal finds its class again."""
        return f"{cls.__module__}.{cls.__qualname__}"

    def __str__(self) -> str:
        if type(self) is not ObjectException and type(self).__dict__.get("__doc__"):
            return _message(self, self.args)
        return super().__str__()


class AlreadyExists(ObjectException):
    """{0} exists already, and this call was to create it. Call a method that changes it, or choose another key."""


class DoesNotExist(ObjectException):
    """{0} does not exist. Create it first, with a method that is marked @creates."""


def text_of(error: BaseException) -> str:
    """What an exception says; somebody else's ``__str__`` may fail."""
    try:
        return str(error)
    except Exception:
        return f"its text cannot be made from {error.args!r:.200}"
