"""One live object in a host's memory: its mailbox, its turns, and what of them is committed.

Invariants. One turn at a time, in order of arrival. The next turn starts when the last one has returned, on the state in
memory; what a turn lets others see (reply, error, outputs) waits until its row and all rows before it are committed. When
a commit fails, the activation is dropped with everything that waited on it; nothing of it was observable.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import deque
from dataclasses import replace
from datetime import datetime
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from . import alarms, events, ids, refusals, watching
from .answers import Answer, Pending, Rejected
from .definition import Definition
from .errors import (
    CallFailed,
    CallIdReused,
    DeadlineExceeded,
    InvalidValue,
    ObjectException,
    Overloaded,
    ResultTooLarge,
    StateError,
    StateTooLarge,
    text_of,
)
from .execution import execute
from .limits import RESULT_BYTES, SNAPSHOT_SECONDS, encoded_size
from .logs import about
from .rebuilding import rebuild, replayed
from .state import State, current_turn
from .stores.protocol import Entry, EntryKind, Loaded, Snapshot
from .turns import Call, Name, Turn, describe
from .upcasting import is_of

if TYPE_CHECKING:
    from .durable import DurableObject
    from .host import Host

logger = logging.getLogger("jido_objects.turn")

_COPIED = (list, dict, set, bytearray, deque)
"""Defaults of ``Transient`` attributes that each activation gets a copy of; any other value is shared, as in a class body."""


class Status(Enum):
    THAWING = auto()
    LIVE = auto()
    GONE = auto()


class Activation:
    """See the module. Everything here runs on the host's loop."""

    __slots__ = (
        "absent_for", "armed", "calls", "closed", "definition", "emptied", "epoch", "head_epoch", "head_seq", "host", "in_flight",
        "instance", "last", "last_snapshot", "last_used", "mailbox", "migrated_at", "name", "object_id", "options", "seq", "size_bound",
        "state", "status", "stored", "tail", "tail_bytes", "task", "turn", "unsent",
    )  # fmt: skip

    def __init__(self, host: Host, definition: Definition, name: Name) -> None:
        self.host = host
        self.definition = definition
        self.options = definition.options
        self.name = name
        self.stored = name
        """The name of its row, which may be one that its type had before."""
        self.status = Status.THAWING
        self.calls: dict[str | Call, Call] = {}
        """Every unanswered call, by id; queries by themselves, since their ids are not remembered."""
        self.mailbox: deque[Call] = deque()
        self.unsent: list[Pending] = []
        self.in_flight: list[Pending] = []
        self.last: Pending | None = None
        """The newest uncommitted row: what a read that sees it must wait for."""
        self.turn: Turn | None = None
        self.task: asyncio.Task[None] | None = None
        self.closed: asyncio.Future[list[Call]] | None = None
        self.emptied: asyncio.Future[None] | None = None
        """What a ``@transactional`` turn waits for before it starts: everything written is committed."""
        self.object_id: int | None = None
        self.absent_for: set[Call] = set()
        """The calls that were here when the store was asked and knew no such object."""
        self.epoch = self.seq = self.head_seq = self.head_epoch = 0
        self.tail = self.tail_bytes = 0
        self.size_bound = 0
        self.migrated_at = -1
        """The seq at which it was brought forward from an older version, by this thaw."""
        self.last_snapshot = 0.0
        self.last_used = host.clock.monotonic()
        self.armed: dict[str, tuple[datetime, tuple[object, ...]]] = {}
        """What the inbox says of alarms, as far as this activation has written it: their times, and all else."""
        self.instance: DurableObject
        self.state: State

    # -------------------------------------------------------------------------------------------- into memory

    def _embody(self) -> None:
        instance = object.__new__(self.definition.cls)
        object.__setattr__(instance, "_jido", self)
        values = instance.__dict__
        for name, default in self.definition.transients.items():
            values[name] = copy.deepcopy(default) if isinstance(default, _COPIED) else default
        self.instance = instance
        self.state = State(self.definition.stored, values, describe(self.name))

    def embody_absent(self) -> None:
        """An object that has no row: defaults, for the calls that were waiting when the store said so."""
        self._embody()
        self.state.restore("{}")
        self.object_id = None
        self.epoch, self.seq, self.head_seq, self.head_epoch = 1, 0, 0, 1

    def embody(self, object_id: int, epoch: int, loaded: Loaded) -> None:
        """An object as it rests. Raises ``CorruptObject``, ``NewerVersion``, ``MigrationGap`` or ``MigrationFailed``."""
        self._embody()
        self.object_id = object_id
        self.epoch = epoch
        self.seq, self.head_seq, self.head_epoch = loaded.head_seq, loaded.head_seq, loaded.head_epoch
        self.size_bound = rebuild(self.state, self.definition, self.name, loaded)
        self.tail = len(loaded.tail)
        self.tail_bytes = sum(encoded_size(entry.delta) for entry in loaded.tail)
        if not is_of(self.options.version, loaded):
            # A snapshot in today's version shuts older code out, as a row does: not before there is a row, and then at once.
            self.migrated_at = self.seq
            self.tail = self.options.snapshot_every * 16

    # -------------------------------------------------------------------------------------------- the input gate

    def accept(self, call: Call) -> None:
        """Take a call into the mailbox, or answer at once why not."""
        token = call.token
        earlier = self.calls.get(token)
        if earlier is not None:
            if not call.matches(earlier.digest):
                call.fail(CallIdReused(call.call_id, describe(self.name), call_id=call.call_id))
            else:
                earlier.adopt(call)
            return
        if len(self.calls) >= self.options.max_mailbox:
            call.fail(Overloaded(describe(self.name), self.options.max_mailbox, call_id=call.call_id))
            if events.listening:
                events.emit(events.ObjectOverloaded(*self.name, call.method.name, call.call_id, self.options.max_mailbox))
            return
        if events.listening:
            watching.entered(call, self.host.clock.monotonic())
        self.calls[token] = call
        self.mailbox.append(call)
        if self.status is Status.LIVE:
            if call.lookup:
                self.host.look_up(self, call)
            if self.turn is None:
                self.pump()

    def accept_first(self, calls: list[Call]) -> None:
        """Put calls that run again before all others; whoever has asked with the same id meanwhile follows them."""
        for call in reversed(calls):
            token = call.token
            later = self.calls.get(token)
            if later is not None and later is not call:
                self.mailbox.remove(later)
                if not call.matches(later.digest):
                    later.fail(CallIdReused(call.call_id, describe(self.name), call_id=call.call_id))
                else:
                    call.adopt(later)
            self.calls[token] = call
            self.mailbox.appendleft(call)

    def go_live(self) -> None:
        """Start to execute what waits."""
        self.status = Status.LIVE
        if self.object_id is not None:
            for call in self.mailbox:
                if call.lookup:
                    self.host.look_up(self, call)
        self.pump()

    def pump(self) -> None:
        """Execute calls until the mailbox is empty, or the head of it must wait."""
        while self.turn is None and self.status is Status.LIVE:
            if self.absent:
                # An answer from defaults holds for these calls only: another owner may have created it before later ones came.
                if not self.mailbox or self.mailbox[0] not in self.absent_for:
                    self.host.absent_done(self)
                    return
                self.absent_for.discard(self.mailbox[0])
            if not self.mailbox or self.mailbox[0].waiting:
                return
            call = self.mailbox.popleft()
            try:
                execute(self, call)
            except Exception as error:
                self.broken(call, error)

    def withdraw(self, call: Call) -> None:
        """The caller's time is up: answer for certain if the call has not started. Others who asked with its id may have longer."""
        error = DeadlineExceeded(str(call), call_id=call.call_id)
        if call.followers and not call.started and call in self.mailbox:
            if call.reply is not None:
                call.reply.set_exception(error)
            call.reply = call.followers.pop(0)
        else:
            self.refuse(call, error)

    def refuse(self, call: Call, error: BaseException) -> None:
        """Take a call that has not started out of the mailbox, with an error; one that has started goes on."""
        if not call.started and call in self.mailbox:
            self.mailbox.remove(call)
            self.fail(call, error)
            if self.turn is None:
                self.pump()

    # -------------------------------------------------------------------------------------------- turns

    def turn_now(self) -> Turn:
        """The open turn of the running code; raises ``StateError``."""
        turn = self.turn
        if turn is None or current_turn.get() is not turn:
            raise StateError(f"{describe(self.name)}: self.turn and self.now() exist only inside a method call.")
        return turn

    def complete(self, call: Call, turn: Turn, result: Any) -> None:
        """A method returned: queue its row, or answer where it writes none. Whatever raises here rolls the turn back."""
        try:
            answer, entry = self.seal(call, turn, result)
        except Rejected as rejected:
            self.abort(call, turn, rejected.error, own=True)
            return
        if entry is None:
            self.state.rollback()
            turn.ended = True
            self.deliver(answer)
        else:
            self.state.commit()
            turn.ended = True
            try:
                self.queue(entry, answer, turn)
            except Exception as error:
                # Memory is ahead of the journal now, and is not to be believed.
                self.broken(call, error)
                self.host.drop(self, f"the row of {call} could not be queued")

    def seal(self, call: Call, turn: Turn, result: Any) -> tuple[Answer, Entry | None]:
        """What a turn that returned ``result`` answers, and the row it writes, if any. Raises ``Rejected``; changes nothing."""
        method, state = call.method, self.state
        if state.dirty and "clean" in self.definition.hooks:
            self.definition.hooks["clean"](self.instance)
        try:
            result = method.result.copy(result, method.returns)
        except InvalidValue as error:
            logger.error("%s: %s", call, error, extra=about(call))
            raise Rejected(error) from None
        own_id = call.own_id and method.recorded
        delta = state.delta() if state.dirty else "[]"
        changed = delta != "[]"
        absent = self.absent
        creates = absent and method.creates
        answer = Answer(call, result, None, turn.after)
        turn.inbox = alarms.changes(self, turn)
        if not self.host.policy(self.options.kind).writes(
            changed=changed or creates,
            outputs=method.transactional or turn.inbox is not None,
            own_id=own_id,
            refused=False,
            absent=absent,
        ):
            return answer, None
        if absent:
            delta = state.initial()
        encoded = method.result.encode(result)
        weight = encoded_size(encoded)
        if weight > RESULT_BYTES:
            raise Rejected(ResultTooLarge(method.label, weight, RESULT_BYTES))
        size = encoded_size(delta)
        if self.size_bound + size > self.options.max_state_bytes:
            whole = encoded_size(state.document())
            if whole > self.options.max_state_bytes:
                raise Rejected(StateTooLarge(describe(self.name), whole, self.options.max_state_bytes))
            self.size_bound = whole - size
        return answer, self._entry(EntryKind.TURN, call, turn, delta, encoded)

    def abort(self, call: Call, turn: Turn, error: BaseException, *, own: bool = False) -> None:
        """A method raised, or what it left cannot be committed (``own``): as if it had not run."""
        self.state.rollback()
        turn.ended = turn.undone = True
        turn.after = turn.inbox = None
        if call.message is not None:
            call.message.stop_chain()
        if isinstance(error, ObjectException):
            encoded = refusals.encode(error)
            if encoded is None:
                logger.error("%s refused with arguments that cannot be encoded", call, exc_info=error, extra=about(call))
                text = f"{text_of(error)} (its arguments cannot be encoded: {error.given!r:.200})"
                error = CallFailed(str(call), type(error).__name__, text)
            else:
                error = refusals.rebuild(encoded)
                own_id = call.own_id and call.method.recorded
                absent = self.absent
                if self.host.policy(self.options.kind).writes(changed=False, outputs=False, own_id=own_id, refused=True, absent=absent):
                    self.queue(self._entry(EntryKind.REFUSAL, call, turn, "[]", encoded), Answer(call, None, error, None))
                    return
        elif not own:
            error = self._failed(call, error)
        self.deliver(Answer(call, None, error, None))

    def broken(self, call: Call, error: Exception) -> None:
        """An error that no guard expected: its caller is answered, and the object goes on."""
        logger.error("%s ended with an error of the runtime's own", call, exc_info=error, extra=about(call))
        if self.last is not None and self.last.answer.call is call:
            return
        if self.turn is not None and self.turn.call is call:
            self.state.rollback()
            self.turn.ended = self.turn.undone = True
            self.turn = None
        self.fail(call, CallFailed(str(call), type(error).__name__, text_of(error).removesuffix(".")))

    def _failed(self, call: Call, error: BaseException) -> CallFailed:
        text = text_of(error).removesuffix(".")
        if type(error).__name__ == "SynchronousOnlyOperation":
            text = (
                "the ORM cannot run in a plain `def` turn, which runs on the host's loop. "
                "Add @transactional to the method, or make it `async def` and use the async ORM"
            )
        logger.error("%s raised %s", call, type(error).__name__, exc_info=error, extra=about(call))
        return CallFailed(str(call), type(error).__name__, text)

    # -------------------------------------------------------------------------------------------- the output gate

    def _entry(self, kind: EntryKind, call: Call, turn: Turn, delta: str, encoded: str) -> Entry:
        return Entry(
            self.seq + 1,
            kind,
            turn.now,
            call.call_id,
            # An id that derives from a caller's own is sent again with it, so it is remembered for as long.
            call.own_id or not ids.looks_generated(call.call_id),
            call.method.name,
            call.digest,
            delta,
            encoded,
            self.options.version,
            None if call.user is None else str(call.user),
        )

    def queue(self, entry: Entry, answer: Answer, turn: Turn | None = None) -> None:
        """Commit a turn's row with the next batch, and answer then."""
        pending = self.pending(entry, answer, turn)
        self._keep(pending)
        self.unsent.append(pending)
        self.last = pending
        self.host.pipeline.push(self)

    def pending(self, entry: Entry, answer: Answer, turn: Turn | None) -> Pending:
        """A finished turn's row, with what it does to messages."""
        if turn is None or turn.inbox is None:
            return Pending(entry, answer)
        alarms.note(self, turn.inbox)
        return Pending(entry, answer, turn.inbox, turn.call.deadline - turn.remaining)

    def _keep(self, pending: Pending) -> None:
        """Memory has this row's changes: count it, and take the snapshot that may be due."""
        entry = pending.entry
        self.seq = entry.seq
        size = encoded_size(entry.delta)
        self.size_bound += size
        self.tail += 1
        self.tail_bytes += size
        if self.tail >= self.options.snapshot_every and self._snapshot_is_due():
            pending.snapshot = self._snapshot()
        call = pending.answer.call
        if call.watch is not None:
            call.watch.returned(self.host.clock.monotonic(), pending.answer.error, entry.seq)

    def applied(self, pending: Pending, object_id: int) -> None:
        """The transaction of a ``@transactional`` turn has committed, its row with it: keep what it changed, and answer."""
        self.state.commit()
        self._keep(pending)
        self.host.trimmer.wrote(object_id, self.name[0], 1, pending.size)
        self.committed([pending], object_id)

    def deliver(self, answer: Answer) -> None:
        """Answer a turn that wrote no row, once what it saw is committed and may be believed."""
        if answer.call.watch is not None:
            answer.call.watch.returned(self.host.clock.monotonic(), answer.error, None)
        if self.last is not None:
            if self.last.followers is None:
                self.last.followers = [answer]
            else:
                self.last.followers.append(answer)
        elif self.object_id is None:
            self.let_out(answer)
        elif not self.host.trusted():
            self.host.distrust(self, [answer.call])
        elif answer.call.confirmed:
            self.host.confirm(self, answer)
        else:
            self.let_out(answer)

    def committed(self, pendings: list[Pending], object_id: int) -> None:
        """These rows are in the journal: let out what waited on them."""
        self.object_id = object_id
        self.head_seq = pendings[-1].entry.seq
        self.head_epoch = self.epoch
        self.in_flight = []
        if self.last is pendings[-1]:
            self.last = None
        unbelieved: list[Call] = []
        for pending in pendings:
            self.let_out(pending.answer)
            if pending.followers is not None:
                # The row may have been there for long before its reply came, and others may have written since.
                trusted = self.host.trusted()
                for follower in pending.followers:
                    if not trusted:
                        unbelieved.append(follower.call)
                    elif follower.call.confirmed:
                        self.host.confirm(self, follower)
                    else:
                        self.let_out(follower)
            if pending.inbox is not None:
                self.host.inbox.written(pending.inbox)
            if pending.snapshot is not None:
                snapshot = pending.snapshot
                self.host.pipeline.keep(replace(snapshot, object_id=object_id))
        if unbelieved:
            self.host.distrust(self, unbelieved)
        if self.last is None and self.emptied is not None:
            emptied, self.emptied = self.emptied, None
            if not emptied.done():
                emptied.set_result(None)

    def let_out(self, answer: Answer) -> None:
        """Run what was to leave with a turn, and answer its call: what the caller does next comes after that."""
        if answer.after is not None:
            for action in answer.after:
                self.host.run_after(action)
        self._answer(answer.call, answer.result, answer.error)
        if answer.call.watch is not None:
            watching.finished(answer.call, answer.error, self.host.clock.monotonic())

    def answer_recorded(self, call: Call) -> None:
        """Answer a call as the journal recorded it."""
        recorded = call.recorded
        assert recorded is not None
        if not call.matches(recorded.digest):
            self.fail(call, CallIdReused(call.call_id, describe(self.name), call_id=call.call_id))
            return
        result, error = replayed(call.method, recorded.kind, recorded.result)
        self._answer(call, result, error)

    def _answer(self, call: Call, result: Any, error: BaseException | None) -> None:
        self.calls.pop(call.token, None)
        if error is None:
            call.answer(result)
        else:
            call.fail(error)

    def fail(self, call: Call, error: BaseException) -> None:
        self._answer(call, None, error)

    # -------------------------------------------------------------------------------------------- out of memory

    @property
    def absent(self) -> bool:
        """Whether there is no object yet: no row, and no turn that will make one."""
        return self.object_id is None and self.seq == 0

    def is_thawing(self) -> bool:
        return self.status is Status.THAWING

    def is_live(self) -> bool:
        return self.status is Status.LIVE

    @property
    def idle(self) -> bool:
        """Nothing waits, runs or is uncommitted."""
        return not self.calls and self.turn is None and not self.unsent and not self.in_flight and self.status is Status.LIVE

    def _snapshot_is_due(self) -> bool:
        now = self.host.clock.monotonic()
        # Encoding costs what the state weighs: a large state waits until its tail is worth it.
        if now - self.last_snapshot < SNAPSHOT_SECONDS:
            return False
        return self.tail_bytes * 4 >= self.size_bound or self.tail >= self.options.snapshot_every * 16

    def _snapshot(self) -> Snapshot:
        document = self.state.document()
        self.last_snapshot = self.host.clock.monotonic()
        self.size_bound = encoded_size(document)
        self.tail = self.tail_bytes = 0
        # The epoch of the row at that seq: where nothing was written since the thaw, an earlier owner's.
        epoch = self.head_epoch if self.seq == self.head_seq else self.epoch
        retention = self.options.retention or self.host.settings.retention
        return Snapshot(self.object_id or 0, self.seq, epoch, document, self.options.version, retention)

    def farewell_snapshot(self) -> Snapshot | None:
        """A snapshot worth writing before memory is dropped: only when idle, so that the state is the committed one."""
        if self.object_id is None or self.seq == self.migrated_at or self.tail < min(8, self.options.snapshot_every):
            return None
        return self._snapshot()

    def leave(self) -> list[Call]:
        """Leave memory; returns the calls that were not applied, in order. Rows in flight are the pipeline's to settle."""
        self.status = Status.GONE
        if self.task is not None:
            self.task.cancel()
        redo: list[Call] = []
        for pending in self.in_flight:
            redo.extend(answer.call for answer in pending.followers or ())
            pending.followers = None
        for pending in self.unsent:
            redo.append(pending.answer.call)
            redo.extend(answer.call for answer in pending.followers or ())
        if self.turn is not None and not self.turn.ended:
            redo.append(self.turn.call)
            self.turn.ended = self.turn.undone = True
        redo.extend(self.mailbox)
        self.unsent = []
        self.mailbox.clear()
        self.last = None
        return redo
