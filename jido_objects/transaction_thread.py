"""A thread that runs ``@transactional`` turns, one after another, on a Django connection and a lane of its own.

In this thread ``connections[alias]`` is that connection: the ORM of the method uses it without knowing. It is made from a
copy of the alias's settings and belongs to nobody else, so that nothing of its session reaches other code, nor theirs it.

The thread begins the transaction, runs the method, and waits with the transaction open for the loop's decision. It never
decides to commit by itself.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any
from uuid import UUID, uuid4

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .errors import OutcomeUnknown, StateError, StoreError, StoreUnavailable
from .limits import TURN_TIMEOUT
from .logs import about
from .stores.protocol import Append, TermEnded
from .stores.transactions import Again, Lane

logger = logging.getLogger("jido_objects.transaction")

_ENDING = ("begin", "start", "commit", "end", "rollback", "abort", "prepare")
_READING = ("select", "with", "values", "explain", "show", "set", "pragma", "begin", "commit", "savepoint", "release", "rollback")


class Job:
    """One transaction, as thread and loop hand it to each other."""

    def __init__(self, term: UUID, seconds: float) -> None:
        self.term = term
        self.seconds = seconds
        self.body: Callable[[], Any]
        self.abandoned = False
        self.decisions: SimpleQueue[Append | None] = SimpleQueue()
        """The row to commit with; ``None`` rolls back."""
        self.lane = uuid4()
        """The lane it runs under, once it runs."""

    # Told by the thread, each at most once; the pool answers them on the loop.

    def ran(self, result: Any, error: BaseException | None) -> None:
        raise NotImplementedError

    def committed(self, object_id: int, error: BaseException | None) -> None:
        raise NotImplementedError

    def left(self) -> bool:
        """The thread is free, or, if the job was abandoned, has ended. Returns whether there may be another job."""
        raise NotImplementedError


class _RolledBack(Exception):
    """The loop's decision."""


class _Gate:
    """Lets the statements of an open turn through, and none after its end."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Held while a statement is executed."""
        self.job: Job | None = None

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        with self.lock:
            job = self.job
            if job is not None:
                if job.abandoned:
                    raise StateError("This turn has ended, and its transaction with it: it took too long, or its object was lost.")
                word, rest = _words(sql)
                if word in _ENDING and not (word == "rollback" and rest.startswith("to")):
                    raise StateError(f"{word.upper()} in a @transactional method: the transaction is the turn's, and ends with it.")
            return execute(sql, params, many, context)


class _Elsewhere:
    """Refuses writes on other aliases while a turn is open: they could not be part of its transaction."""

    def __init__(self, alias: str, ours: str, gate: _Gate) -> None:
        self._alias, self._ours, self._gate = alias, ours, gate

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if self._gate.job is not None and _words(sql)[0] not in _READING:
            raise StateError(
                f"A @transactional method wrote to database {self._alias!r}, and its transaction is on {self._ours!r}, where the objects "
                f"are (JIDO_OBJECTS['DATABASE']): write there (.using({self._ours!r})), or after the commit (self.on_commit)."
            )
        return execute(sql, params, many, context)


def _words(sql: Any) -> tuple[str, str]:
    text = sql if isinstance(sql, str) else str(sql)
    word, _, rest = text.lstrip(" \t\n(").partition(" ")
    return word.rstrip(";").lower(), rest.lstrip().lower()


class TransactionThread:
    """See the module. ``jobs`` come from the loop; ``None`` ends it."""

    def __init__(self, alias: str, lane: Lane, name: str, after: TransactionThread | None = None) -> None:
        self.jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._alias = alias
        self._fence = lane
        self._after = after
        """Whose transaction must be ended first: this thread has been started in its place."""
        self._gate = _Gate()
        self._connection: BaseDatabaseWrapper | None = None
        self._raw: Any = None
        """The driver's connection as we have set it up."""
        self._term: UUID | None = None
        self._lane: UUID | None = None
        self._guarded: set[str] = set()
        self._limited = 0
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        contextvars.Context().run(self.thread.start)

    def _run(self) -> None:
        job: Job | None = None
        try:
            if self._after is not None:
                self._take_over(self._after)
            while (job := self.jobs.get()) is not None:
                try:
                    self._serve(job)
                except BaseException as error:
                    # Whatever it is, nobody may wait for ever.
                    logger.exception("A transaction met an error that is not its own", extra=about())
                    job.ran(None, Again(repr(error)))
                    job.committed(0, OutcomeUnknown("a transaction", repr(error)))
                if job.abandoned or not job.left():
                    break
        finally:
            self._close()
            connections.close_all()
            if job is not None and job.abandoned:
                job.left()

    # -------------------------------------------------------------------------------------------- one transaction

    def _serve(self, job: Job) -> None:
        try:
            self._prepare(job.term, job.seconds)
        except BaseException as error:
            self._close()
            job.ran(None, Again(str(error)) if isinstance(error, Error | StoreUnavailable) else error)
            return
        assert self._lane is not None
        job.lane = self._lane
        failed: BaseException | None = None
        asked = done = False
        object_id = 0
        try:
            with transaction.atomic(using=self._alias, durable=True):
                self._gate.job = job
                try:
                    result = contextvars.Context().run(job.body)
                    self._refuse_what_cannot_commit()
                    job.ran(result, None)
                    append = job.decisions.get()
                    if append is None:
                        raise _RolledBack
                    asked = True
                    object_id = self._fence.append(self._raw, job.term, job.lane, append)
                    # Not left to Django: its way out of a block does not tell whether COMMIT was sent.
                    with connections[self._alias].wrap_database_errors:
                        self._fence.commit(self._raw)
                    done = True
                    job.committed(object_id, None)
                except BaseException as error:
                    failed = error
                    if isinstance(error, OutcomeUnknown):
                        job.committed(0, error)  # at once: to roll back what cannot be reached takes time
                    raise
                finally:
                    self._gate.job = None
        except BaseException as error:
            if done:
                logger.error("What was to run after the commit of a transaction failed", exc_info=error, extra=about())
            elif failed is None:
                failed = error  # BEGIN
        if not done:
            self._tell(job, failed or _RolledBack(), asked=asked)
        self._tidy(unknown=isinstance(failed, OutcomeUnknown))

    def _tell(self, job: Job, error: BaseException, *, asked: bool) -> None:
        if isinstance(error, _RolledBack | OutcomeUnknown):
            return
        why = None if isinstance(error, Again) else self._fence.again(self._raw, error)
        told: BaseException = error if why is None else Again(why)
        if asked:
            job.committed(0, told)
        else:
            job.ran(None, told)

    def _refuse_what_cannot_commit(self) -> None:
        connection = self._connection
        assert connection is not None
        if connection.closed_in_transaction or connection.connection is not self._raw:
            why: str | None = "it closed its connection"
        elif connection.needs_rollback:
            why = "it was marked for rollback: an error inside of transaction.atomic() was caught outside of another one"
        else:
            why = self._fence.open(self._raw)
        if why is not None:
            raise transaction.TransactionManagementError(f"the transaction of a @transactional method cannot be committed: {why}")

    # -------------------------------------------------------------------------------------------- the connection

    def _prepare(self, term: UUID, seconds: float) -> None:
        """A connection that is ours and of this term. Raises Django's errors, ``Again``, ``TermEnded``, ``StoreError``."""
        if self._raw is not None and (self._term != term or not self._is_ours()):
            self._close()
        if self._term != term:
            self._term, self._lane = term, None
        if self._raw is None:
            self._connect(term)
        # A little later than the loop gives up, which can say more.
        wanted = int((seconds + 1) * 10)
        if wanted != self._limited:
            self._fence.limit(self._raw, wanted / 10)
            self._limited = wanted
        self._guard()

    def _is_ours(self) -> bool:
        connection = self._connection
        return connection is not None and connection.connection is self._raw and self._fence.usable(self._raw)

    def _connect(self, term: UUID) -> None:
        lane = self._lane or uuid4()
        connection = connections[self._alias].copy()
        settings = connection.settings_dict
        settings["OPTIONS"] = self._fence.options(settings["OPTIONS"], term, lane)
        settings.update(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=False, AUTOCOMMIT=True, ATOMIC_REQUESTS=False)
        try:
            with connection.wrap_database_errors:
                connection.connect()
            self._fence.begin(connection.connection, term, lane, new=self._lane is None)
        except BaseException:
            connection.close()
            raise
        self._lane = lane
        self._connection, self._raw = connection, connection.connection
        self._limited = 0
        connection.execute_wrappers.append(self._gate)
        connections[self._alias] = connection

    def _guard(self) -> None:
        for alias in connections:
            if alias != self._alias and alias not in self._guarded:
                self._guarded.add(alias)
                connections[alias].execute_wrappers.append(_Elsewhere(alias, self._alias, self._gate))

    def _tidy(self, *, unknown: bool) -> None:
        """Between two turns, as Django does between two requests."""
        if unknown:
            self._lane = None
        if unknown or not self._is_ours():
            self._close()
        for connection in connections.all(initialized_only=True):
            connection.queries_log.clear()
            if connection is not self._connection:
                with suppress(Exception):
                    connection.close_if_unusable_or_obsolete()

    def _close(self) -> None:
        connection, self._connection, self._raw = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                connection.close()
            connection.connection = None

    def _take_over(self, stuck: TransactionThread) -> None:
        """End the transaction of the thread in whose place this one is, wherever its method is now."""
        raw, term, lane = stuck._raw, stuck._term, stuck._lane
        if raw is None or term is None or lane is None:
            return
        try:
            self._prepare(term, TURN_TIMEOUT)
            self._fence.end(self._raw, raw, term, lane, stuck._gate.lock)
        except (Error, TermEnded, Again, StoreError) as error:
            text = "The transaction of a turn that took too long could not be ended; the database's own limits will: %s"
            logger.warning(text, error, extra=about())
            self._close()
