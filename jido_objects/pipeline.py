"""The commit pipeline: everything a host writes for its objects, one statement in flight.

Group commit: all turns that finished while the last statement was in flight travel in the next one, so batches grow with
the load and a lone caller waits for nobody. When a statement fails, the activations in it are dropped and their rows
purged *before* the next batch is formed: a later row must never land without an earlier one.

An unknown outcome is settled, never guessed: the store makes sure that nothing sent before can still land, and only then
the journal is asked which of the calls it holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from . import events
from .answers import Pending, inbox_of
from .errors import OutcomeUnknown, OwnershipLost, StoreError, StoreUnavailable
from .limits import BATCH_BYTES, BATCH_ROWS
from .logs import about
from .remembering import expired
from .stores.protocol import Append, Appended, Claim, Forgotten, Recorded, Snapshot, Store, TermEnded, Writer
from .turns import Call, describe

if TYPE_CHECKING:
    from .activation import Activation
    from .host import Host

logger = logging.getLogger("jido_objects.pipeline")

T = TypeVar("T")


class Pipeline:
    """The writer side of one term. Runs as one task on the host's loop."""

    def __init__(self, host: Host, store: Store, writer: Writer) -> None:
        self._host = host
        self._store = store
        self._writer = writer
        self._dirty: dict[Activation, None] = {}
        self._claims: list[tuple[Claim, asyncio.Future[int | None]]] = []
        self._snapshots: dict[int, Snapshot] = {}
        self._asides: list[tuple[Callable[[Writer], Awaitable[Any]], asyncio.Future[Any]]] = []
        self._wake: asyncio.Future[None] | None = None
        self._quiet: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._batches_since_snapshot = 0
        self._closing = False
        self.batches = self.rows = 0

    def start(self) -> None:
        self._task = self._host.spawn(self._run())

    async def finish(self) -> None:
        """End after what is in flight is known: the term was buried, and nothing more is to be written in its name."""
        self._closing = True
        self._nudge()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._close()

    async def stop(self) -> None:
        """End now; the caller has made sure that nothing is pending, or has answered what is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._close()

    async def _close(self) -> None:
        claims, self._claims = self._claims, []
        self._fail_claims(claims, TermEnded())
        asides, self._asides = self._asides, []
        for _, future in asides:
            if not future.done():
                future.set_exception(TermEnded())
        await self._writer.close()

    # -------------------------------------------------------------------------------------------- in

    def push(self, activation: Activation) -> None:
        """An activation has unsent rows."""
        self._dirty[activation] = None
        self._nudge()

    def purge(self, activation: Activation) -> None:
        """An activation has left memory: nothing more of it is sent."""
        self._dirty.pop(activation, None)

    def keep(self, snapshot: Snapshot) -> None:
        """Write a snapshot of committed state when the lane has time."""
        self._snapshots[snapshot.object_id] = snapshot
        self._nudge()

    def claim(self, claim: Claim) -> asyncio.Future[int | None]:
        """The new epoch, or ``None`` where the claim was not valid."""
        future: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        if self._closing:
            future.set_exception(TermEnded())
            return future
        self._claims.append((claim, future))
        self._nudge()
        return future

    def aside(self, write: Callable[[Writer], Awaitable[T]]) -> asyncio.Future[T]:
        """Write something that no activation waits for, when it is its turn. An unknown outcome is settled, and raised as
        ``StoreUnavailable``."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._closing:
            future.set_exception(TermEnded())
            return future
        self._asides.append((write, future))
        self._nudge()
        return future

    async def quiet(self) -> None:
        """Wait until nothing is left to write."""
        while self._dirty or self._claims or self._snapshots or self._asides or self._wake is None:
            self._quiet.clear()
            await self._quiet.wait()

    def _nudge(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # -------------------------------------------------------------------------------------------- out

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._closing:
            if not (self._dirty or self._claims or self._snapshots or self._asides):
                self._wake = loop.create_future()
                self._quiet.set()
                await self._wake
                self._wake = None
            try:
                if self._claims:
                    await self._claim()
                if self._dirty:
                    await self._append()
                if self._asides:
                    await self._aside(*self._asides.pop(0))
                if self._snapshots and (not self._dirty or self._batches_since_snapshot >= 16):
                    await self._snapshot()
            except TermEnded:
                self._closing = True
                self._host.term_lost(self)
                return
            except Exception:
                # A pipeline that ended here would leave every call of this process waiting for nothing.
                logger.exception("The commit pipeline met an error that is not its own; it goes on", extra=about())
                await asyncio.sleep(0.1)

    async def _append(self) -> None:
        batch = self._form()
        if not batch:
            return
        self._batches_since_snapshot += 1
        began = self._host.clock.monotonic()
        try:
            outcome: Sequence[Appended] = await self._writer.append([append for _, append in batch])
        except OutcomeUnknown as error:
            await self._settle_unknown(batch, error)
            return
        except TermEnded:
            # Known: nothing of the batch was written.
            self._tell_failed(batch, "TermEnded")
            for activation, _ in batch:
                self.refused(activation)
            raise
        except StoreError as error:
            logger.warning("A batch of %d objects was not written: %s", len(batch), error, extra=about())
            self._tell_failed(batch, type(error).__name__)
            for activation, _ in batch:
                self.refused(activation, error)
            return
        except Exception as error:
            # A fault of the store's own: nobody knows what it did, so it is settled and the journal is asked.
            logger.exception("The store failed with a batch of %d objects", len(batch), extra=about())
            await self._settle_unknown(batch, OutcomeUnknown("a batch", repr(error)))
            return
        self.batches += 1
        if events.listening:
            self._tell_committed(batch, outcome, self._host.clock.monotonic() - began)
        for (activation, append), appended in zip(batch, outcome, strict=True):
            if isinstance(appended, int):
                self.rows += len(append.entries)
                self._host.trimmer.wrote(appended, append.type, len(append.entries), sum(p.size for p in activation.in_flight))
                activation.committed(activation.in_flight, appended)
                if activation.closed is not None:
                    # It was dropped meanwhile: the activation after it waits until these rows are there to be read.
                    self._host.resolved(activation, [], None)
            else:
                self.refused(activation, appended or OwnershipLost(describe(activation.name)))
        self._host.answered()

    def _tell_committed(self, batch: list[tuple[Activation, Append]], outcome: Sequence[Appended], seconds: float) -> None:
        written = []
        for one, appended in zip(batch, outcome, strict=True):
            if isinstance(appended, int):
                written.append(one)
            else:
                self._tell_failed([one], "OwnershipLost" if appended is None else type(appended).__name__)
        if written:
            pendings = [pending for activation, _ in written for pending in activation.in_flight]
            events.emit(events.BatchCommitted(len(pendings), len(written), sum(pending.size for pending in pendings), seconds))

    def _tell_failed(self, batch: list[tuple[Activation, Append]], error: str) -> None:
        if events.listening:
            events.emit(events.CommitFailed(_rows(batch), len(batch), error))

    def _form(self) -> list[tuple[Activation, Append]]:
        batch: list[tuple[Activation, Append]] = []
        rows = size = 0
        for activation in list(self._dirty):
            take: list[Pending] = activation.unsent
            if take and take[0].entry.seq != activation.head_seq + 1:
                # The belt of the stores looks for the head row; that nothing is missing after it is seen to here.
                between = (activation.head_seq, take[0].entry.seq)
                logger.error("%s lacks rows between %d and %d", describe(activation.name), *between, extra=about(name=activation.name))
                self._host.drop(activation, "its rows have a gap")
                continue
            room = BATCH_ROWS - rows
            if len(take) > room:
                take = take[:room]
            sizes = [pending.size for pending in take]
            if size + sum(sizes) > BATCH_BYTES:
                fitting = 0
                for one in sizes:
                    if size + one > BATCH_BYTES and (batch or fitting):
                        break
                    size += one
                    fitting += 1
                take = take[:fitting]
            else:
                size += sum(sizes)
            if not take:
                break
            if len(take) == len(activation.unsent):
                activation.unsent = []
                del self._dirty[activation]
            else:
                activation.unsent = activation.unsent[len(take) :]
            activation.in_flight = take
            rows += len(take)
            label, key = activation.stored
            batch.append(
                (
                    activation,
                    Append(
                        label,
                        key,
                        activation.object_id,
                        activation.epoch,
                        activation.head_seq,
                        activation.head_epoch,
                        [pending.entry for pending in take],
                        inbox=inbox_of(take, self._host.clock.monotonic()),
                    ),
                )
            )
            if rows >= BATCH_ROWS or size >= BATCH_BYTES:
                break
        return batch

    def refused(self, activation: Activation, error: StoreError | OwnershipLost | None = None) -> None:
        """Nothing of this activation's batch was written."""
        calls = [pending.answer.call for pending in activation.in_flight]
        self._host.drop(activation, f"its rows were not written ({error})" if error else "its term has ended")
        self.resolve(activation, calls, error)

    def resolve(self, activation: Activation, redo: list[Call], error: BaseException | None = None) -> None:
        """What an activation had in flight has an outcome; these calls of it were not applied."""
        activation.in_flight = []
        self._host.resolved(activation, redo, error)

    async def _settle_unknown(self, batch: list[tuple[Activation, Append]], error: OutcomeUnknown) -> None:
        began = self._host.clock.monotonic()
        logger.warning("The outcome of a batch of %d objects is unknown: %s", len(batch), error, extra=about())
        if events.listening:
            events.emit(events.CommitUnknown(_rows(batch), len(batch), type(error).__name__))
        for activation, _ in batch:
            self._host.drop(activation, "its rows were in flight when the connection broke")
        ended = False
        try:
            await self._settle()
        except TermEnded:
            # Buried: what had landed has landed, and nothing else will.
            ended = True
        self._host.spawn(self.ask_journal(batch, began))
        if ended:
            raise TermEnded

    async def _settle(self) -> None:
        pause = 0.05
        while True:
            try:
                await self._writer.settle()
                return
            except StoreError as error:
                logger.warning("An unknown outcome cannot be settled yet: %s", error, extra=about())
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)

    async def ask_journal(self, batch: list[tuple[Activation, Append]], began: float) -> None:
        """After settling: answer what the journal holds, run the rest again."""
        pause = 0.05
        while True:
            try:
                found = await self._recorded(batch)
                break
            except StoreError as error:
                logger.warning("The journal cannot be asked yet: %s", error, extra=about())
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
            except Exception as error:
                # A row that cannot be read, of one of these objects: the others are not to wait for it.
                if len(batch) > 1:
                    for one in batch:
                        await self.ask_journal([one], began)
                    return
                logger.exception("What became of a batch cannot be read", extra=about(name=batch[0][0].name))
                self._give_up(batch[0][0], error)
                return
        if events.listening:
            events.emit(events.CommitSettled(_rows(batch), len(found), self._host.clock.monotonic() - began))
        for activation, _ in batch:
            redo = []
            for pending in activation.in_flight:
                recorded, entry, call = found.get(pending), pending.entry, pending.answer.call
                if recorded is None:
                    redo.append(call)
                elif isinstance(recorded, Forgotten):
                    # It may have landed, and much else since.
                    activation.fail(call, expired(self._host, call))
                elif (recorded.seq, recorded.at) == (entry.seq, entry.at):
                    activation.let_out(pending.answer)
                else:
                    # Not this row: another owner has been sent the same id since, and what it did is what happened.
                    call.recorded = recorded
                    activation.answer_recorded(call)
            self.resolve(activation, redo)

    def _give_up(self, activation: Activation, error: Exception) -> None:
        for pending in activation.in_flight:
            call = pending.answer.call
            activation.fail(call, OutcomeUnknown(str(call), f"the journal cannot be read: {error!r}", call_id=call.call_id))
        self.resolve(activation, [])

    async def _recorded(self, batch: list[tuple[Activation, Append]]) -> dict[Pending, Recorded | Forgotten]:
        """What the journal holds of these calls, whoever wrote it."""
        found = await self._store.find([(append.type, append.key) for _, append in batch])
        asked: list[Pending] = []
        questions: list[tuple[int, str]] = []
        for (activation, _), row in zip(batch, found, strict=True):
            if row is not None:
                for pending in activation.in_flight:
                    asked.append(pending)
                    questions.append((row.id, pending.entry.call_id))
        answers = await self._store.recall(questions) if questions else []
        return {pending: recorded for pending, recorded in zip(asked, answers, strict=True) if recorded is not None}

    async def _claim(self) -> None:
        claims, self._claims = self._claims, []
        try:
            epochs = await self._writer.claim([claim for claim, _ in claims])
        except OutcomeUnknown as error:
            # A claim is idempotent for its own term: settle, and let each ask again.
            self._fail_claims(claims, StoreUnavailable(str(error)))
            await self._settle()
        except TermEnded as error:
            self._fail_claims(claims, error)
            raise
        except StoreError as error:
            self._fail_claims(claims, error)
        except asyncio.CancelledError:
            self._fail_claims(claims, TermEnded())
            raise
        except Exception as error:
            logger.exception("The store failed with %d claims", len(claims), extra=about())
            self._fail_claims(claims, StoreError(f"the claim failed: {error!r}"))
        else:
            for (_, future), epoch in zip(claims, epochs, strict=True):
                if not future.done():
                    future.set_result(epoch)

    async def _aside(self, write: Callable[[Writer], Awaitable[Any]], future: asyncio.Future[Any]) -> None:
        def fail(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        try:
            result = await write(self._writer)
        except OutcomeUnknown as error:
            fail(StoreUnavailable(str(error)))
            await self._settle()
        except (TermEnded, asyncio.CancelledError) as error:
            fail(error if isinstance(error, TermEnded) else TermEnded())
            raise
        except StoreError as error:
            fail(error)
        except Exception as error:
            # Nobody knows what it did.
            logger.exception("The store failed with a write for messages", extra=about())
            fail(StoreError(f"a write for messages failed: {error!r}"))
            await self._settle()
        else:
            if not future.done():
                future.set_result(result)

    def _fail_claims(self, claims: list[tuple[Claim, asyncio.Future[int | None]]], error: Exception) -> None:
        for _, future in claims:
            if not future.done():
                future.set_exception(error)

    async def _snapshot(self) -> None:
        snapshots = list(self._snapshots.values())[:64]
        for snapshot in snapshots:
            if self._snapshots.get(snapshot.object_id) is snapshot:
                del self._snapshots[snapshot.object_id]
        self._batches_since_snapshot = 0
        began = self._host.clock.monotonic()
        try:
            taken = await self._writer.snapshot(snapshots)
        except OutcomeUnknown:
            # A snapshot that is lost costs a longer tail at the next thaw, nothing else.
            await self._settle()
        except StoreError as error:
            logger.warning("%d snapshots were not written: %s", len(snapshots), error, extra=about())
        else:
            written = [len(snapshot.document) for snapshot, kept in zip(snapshots, taken, strict=True) if kept]
            if events.listening and written:
                events.emit(events.SnapshotsWritten(len(written), sum(written), self._host.clock.monotonic() - began))


def _rows(batch: list[tuple[Activation, Append]]) -> int:
    return sum(len(append.entries) for _, append in batch)
