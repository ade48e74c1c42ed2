"""The runtime with one rule taken out, for each rule that the promises rest on. A simulation that does not notice is worth nothing.

Each mutant is a patch that holds within ``with``. ``hunt`` runs its aimed seeds until one fails, and runs the same seeds on the
code as it is: those must pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from jido_objects import host as host_module
from jido_objects import lease as lease_module
from jido_objects import thawing as thawing_module
from jido_objects.activation import Activation, Status
from jido_objects.answers import Answer, Pending
from jido_objects.host import Host
from jido_objects.lease import Lease
from jido_objects.methods import Method
from jido_objects.pipeline import Pipeline
from jido_objects.policy import Durable
from jido_objects.state import State
from jido_objects.stores import memory_server, memory_windows
from jido_objects.stores.memory import MemoryWriter
from jido_objects.stores.memory_server import MemoryServer, Mode
from jido_objects.stores.protocol import Recorded, Snapshot, TermEnded
from jido_objects.thawing import Thawing

from .simulation import Report, simulate

Patch = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    """One rule taken out."""

    name: str
    breaks: str
    """The rule, in the words of the design."""
    profile: str
    """Where to aim."""
    patch: Patch
    limit: int = 200
    """Seeds within which it must be caught."""


MUTANTS: list[Mutant] = []


def mutant(name: str, profile: str, breaks: str, limit: int = 200) -> Callable[[Callable[[], Iterator[None]]], None]:
    def register(patch: Callable[[], Iterator[None]]) -> None:
        MUTANTS.append(Mutant(name, breaks, profile, contextlib.contextmanager(patch), limit))

    return register


# ---------------------------------------------------------------- the fence


@mutant("no fence", "freeze", "everything a host writes share-locks its lane, and writes nothing if that is gone (fence 1)")
def _no_fence() -> Iterator[None]:
    every: dict[Any, Any] = {}
    begin = MemoryServer.begin_lane

    async def begin_lane(self: Any, transaction: Any, term: Any, lane: Any) -> None:
        await begin(self, transaction, term, lane)
        every[lane] = term

    async def append(self: Any, transaction: Any, lane: Any, batch: Any, skew: float = 0.0) -> Any:
        await transaction.executing()
        return [self._append(every[lane], one) for one in batch]

    with mock.patch.object(MemoryServer, "begin_lane", begin_lane), mock.patch.object(MemoryServer, "append", append):
        yield


@mutant("lanes outlive their term", "freeze", "a burial deletes the term and then its lanes (fence 2)")
def _lanes_stay() -> Iterator[None]:
    async def bury(self: Any, transaction: Any, term: Any, *, proven: bool) -> bool:
        await transaction.lock(term, Mode.UPDATE)
        row = self.terms.get(term)
        if row is None:
            return True
        if not proven and self._lease_left(row) >= 0:
            return False
        await transaction.executing()
        del self.terms[term]
        return True

    with mock.patch.object(MemoryServer, "bury", bury):
        yield


@mutant("burial does not wait", "burial", "a burial waits for every append in flight (fence 2)")
def _no_wait() -> Iterator[None]:
    async def bury(self: Any, transaction: Any, term: Any, *, proven: bool) -> bool:
        await transaction.executing()
        row = self.terms.get(term)
        if row is not None:
            if not proven and self._lease_left(row) >= 0:
                return False
            del self.terms[term]
            for lane in [lane for lane, of in self.lanes.items() if of == term]:
                del self.lanes[lane]
        return True

    async def hold(self: Any, transaction: Any, lane: Any) -> Any:
        await transaction.lock(lane, Mode.KEY_SHARE)
        term = self.lanes.get(lane)
        if term is None:
            raise TermEnded
        await transaction.executing()
        return term

    with mock.patch.object(MemoryServer, "bury", bury), mock.patch.object(MemoryServer, "_hold", hold):
        yield


@mutant("claim before burying", "trust", "first the burial, then, and only then, a claim (fence 3)")
def _claim_first() -> Iterator[None]:
    take_over = Thawing.take_over

    async def looks_expired(self: Thawing, name: Any, owner: Any) -> None:
        if owner.lease_left >= 0:
            await take_over(self, name, owner)

    async def claim(self: Any, transaction: Any, lane: Any, claims: Any) -> list[int | None]:
        term = await self._hold(transaction, lane)
        outcome: list[int | None] = []
        for one in claims:
            row = self.objects[one.object_id]
            owner = self.terms.get(row.owner)
            if row.epoch != one.epoch or (owner is not None and row.owner != term and self._lease_left(owner) >= 0):
                outcome.append(None)
            else:
                row.owner, row.epoch = term, row.epoch + 1
                outcome.append(row.epoch)
        return outcome

    async def find(self: Any, transaction: Any, names: Any) -> Any:
        found = await finding(self, transaction, names)
        for one in found:
            if one is not None and one.owner is not None and one.owner.present and one.owner.lease_left < 0:
                one.owner.present = False
        return found

    finding = MemoryServer.find
    with (
        mock.patch.object(Thawing, "take_over", looks_expired),
        mock.patch.object(MemoryServer, "claim", claim),
        mock.patch.object(MemoryServer, "find", find),
    ):
        yield


@mutant("burial of the living", "trust", "a burial only if the lease is past by the database's clock, or death is proven (fence 2)")
def _bury_anyone() -> Iterator[None]:
    async def take_over(self: Thawing, name: Any, owner: Any) -> None:
        await self._host.store.bury(owner.term, proven=True)

    with mock.patch.object(Thawing, "take_over", take_over):
        yield


@mutant("epoch not bumped", "freeze", "every activation bumps the epoch (fence 3)")
def _same_epoch() -> Iterator[None]:
    claiming = MemoryServer.claim

    async def claim(self: Any, transaction: Any, lane: Any, claims: Any) -> Any:
        outcome = await claiming(self, transaction, lane, claims)
        for one, epoch in zip(claims, outcome, strict=True):
            if epoch is not None:
                self.objects[one.object_id].epoch -= 1
        return [None if epoch is None else epoch - 1 for epoch in outcome]

    with mock.patch.object(MemoryServer, "claim", claim):
        yield


@mutant("settle does nothing", "settle", "after an unknown outcome the old lane is deleted before anything is claimed again (fence 4)")
def _no_settle() -> Iterator[None]:
    async def settle(self: Any) -> None:
        if self._link is not None:
            self._link.drop("settling")
        self._lanes.clear()
        await self.begin()

    with mock.patch.object(MemoryWriter, "settle", settle):
        yield


@mutant("asked before settled", "landing", "settle, and only then look for the call ids (fence 4)")
def _asked_early() -> Iterator[None]:
    async def settle_unknown(self: Any, batch: Any, error: Any) -> None:
        for activation, _ in batch:
            self._host.drop(activation, "its rows were in flight when the connection broke")
        await self.ask_journal(batch, 0.0)
        await self._settle()

    with mock.patch.object(Pipeline, "_settle_unknown", settle_unknown):
        yield


@mutant("unknown means lost", "lost", "an unknown outcome is settled, never guessed (three outcomes)")
def _guessed() -> Iterator[None]:
    async def recorded(self: Any, batch: Any) -> dict[Any, Any]:
        return {}

    def start_over(calls: Any) -> None:
        for call in calls:
            call.started = call.waiting = False

    with (
        mock.patch.object(Pipeline, "_recorded", recorded),
        mock.patch.object(host_module, "start_over", start_over),
        mock.patch.object(thawing_module, "start_over", start_over),
    ):
        yield


@mutant("next batch before the purge", "pipelined", "the rows of a failed statement are purged before the next batch is formed (fence 5)")
def _late_purge() -> Iterator[None]:
    original = Pipeline._append

    async def append(self: Any) -> None:
        refuse = self.refused
        refused: list[tuple[Any, Any, list[Pending]]] = []

        def refused_later(activation: Any, error: Any = None) -> None:
            refused.append((activation, error, activation.in_flight))

        self.refused = refused_later
        try:
            await original(self)
        finally:
            del self.refused
            if refused and refused[0][1] is not None and self._dirty:
                await original(self)
            for activation, error, pendings in refused:
                followers = [answer.call for pending in pendings for answer in pending.followers or ()]
                if followers and activation.status is Status.GONE:
                    self._host.redo(activation.name, followers)
                unsettled = activation.closed is not None and not activation.closed.done()
                activation.in_flight = [*pendings, *activation.in_flight]
                if not unsettled:
                    activation.in_flight = pendings
                    refuse(activation, error)

    with mock.patch.object(Pipeline, "_append", append):
        yield


@mutant("buried terms renew", "held", "losing the row ends the term")
def _immortal() -> Iterator[None]:
    renewing = MemoryServer.renew

    async def renew(self: Any, transaction: Any, term: Any, seconds: float) -> bool:
        await renewing(self, transaction, term, seconds)
        return True

    with mock.patch.object(MemoryServer, "renew", renew):
        yield


# ---------------------------------------------------------------- reads


@mutant("reads ignore the trust window", "freeze", "a reply computed from memory only inside the trust window (reads)")
def _always_trusted() -> Iterator[None]:
    with mock.patch.object(Host, "trusted", lambda self: self.lease is not None):
        yield


@mutant("trust from the reply", "trust", "trust counts from the start of the renewal attempt, not from its reply (reads)")
def _from_the_reply() -> Iterator[None]:
    def confirm(self: Any, attempted_at: float) -> None:
        self.trusted_until = max(self.trusted_until, self._clock.monotonic() + self.seconds - self.margin)

    with mock.patch.object(Lease, "confirm", confirm):
        yield


@mutant("no margin", "clocks", "the margin covers a clock that runs slow (reads)")
def _no_margin() -> Iterator[None]:
    with mock.patch.object(lease_module, "MARGIN", 0.0):
        yield


@mutant("trust by the wall clock", "clocks", "the trust window is on the local monotonic clock (reads)")
def _wall_clock() -> Iterator[None]:
    def confirm(self: Any, attempted_at: float) -> None:
        wall = self._clock.now().timestamp()
        ago = self._clock.monotonic() - attempted_at
        self.trusted_until = max(self.trusted_until, wall - ago + self.seconds - self.margin)

    def trusted(self: Any) -> bool:
        return bool(self._clock.now().timestamp() < self.trusted_until)

    with mock.patch.object(Lease, "confirm", confirm), mock.patch.object(Lease, "trusted", trusted):
        yield


@mutant("confirmed reads do not ask", "suspend", "confirmed=True reads ask the database (P10)")
def _unconfirmed() -> Iterator[None]:
    with mock.patch.object(Host, "confirm", lambda self, activation, answer: activation.let_out(answer)):
        yield


@mutant("reads do not wait for the commit", "lost", "a read's reply waits for the commit of the seq it saw (reads)")
def _dirty_reads() -> Iterator[None]:
    deliver = Activation.deliver

    def early(self: Activation, answer: Answer) -> None:
        last, self.last = self.last, None
        try:
            deliver(self, answer)
        finally:
            self.last = last

    with mock.patch.object(Activation, "deliver", early):
        yield


@mutant("followers are let out without trust", "held", "outside the trust window the host answers nothing (reads)", limit=300)
def _trusting_followers() -> Iterator[None]:
    committed = Activation.committed

    def let_all_out(self: Activation, pendings: Any, object_id: int) -> None:
        with mock.patch.object(Host, "trusted", return_value=True):
            committed(self, pendings, object_id)

    with mock.patch.object(Activation, "committed", let_all_out):
        yield


@mutant("a query within an open turn", "asynchronous", "a read waits for the open turn (reads)")
def _open_turn() -> Iterator[None]:
    accept = Activation.accept

    def at_once(self: Activation, call: Any) -> None:
        if self.status is Status.LIVE and self.turn is not None and call.method.query and not call.method.is_async:
            self.deliver(Answer(call, call.method.function(self.instance), None, None))
        else:
            accept(self, call)

    with mock.patch.object(Activation, "accept", at_once):
        yield


class _Everyone(set[Any]):
    def __contains__(self, item: object) -> bool:
        return True


@mutant("defaults answer late calls", "absent", "a read of a key without a row asks the database (fence 7)")
def _default_for_all() -> Iterator[None]:
    with mock.patch.object(thawing_module, "set", _Everyone, create=True):
        yield


# ---------------------------------------------------------------- turns and commits


@mutant("reply before commit", "lost", "a reply waits until its row and all before it are committed (output gate)")
def _early_reply() -> Iterator[None]:
    queue = Activation.queue

    def answer_at_once(self: Activation, *args: Any) -> None:
        queue(self, *args)
        assert self.last is not None
        answer = self.last.answer
        call = answer.call
        self.let_out(answer)
        call.reply = call.followers = None
        self.last.answer = Answer(call, answer.result, answer.error, None)

    with mock.patch.object(Activation, "queue", answer_at_once):
        yield


@mutant("failed turns leave their writes", "mixed", "an exception leaves state as it was")
def _no_rollback() -> Iterator[None]:
    with mock.patch.object(State, "rollback", lambda self: self._close()):
        yield


@mutant("arguments shared between runs", "lost", "each run of a call has arguments of its own (P1, P3)")
def _shared_arguments() -> Iterator[None]:
    with mock.patch.object(Method, "fresh", lambda self, args, kwargs: (args, kwargs)):
        yield


@mutant("hibernation drops unsent rows", "snapshots", "hibernate only when the pipeline is empty (fence 6)")
def _hasty() -> Iterator[None]:
    idle = property(lambda self: self.turn is None and not self.mailbox and self.status is Status.LIVE)
    with mock.patch.object(Activation, "idle", idle):
        yield


@mutant("snapshots of later memory", "snapshots", "a snapshot is the state at its own seq, and committed")
def _late_snapshots() -> Iterator[None]:
    committed = Activation.committed

    def of_now(self: Activation, pendings: Any, object_id: int) -> None:
        for pending in pendings:
            held = pending.snapshot
            if held is not None:
                pending.snapshot = Snapshot(held.object_id, held.seq, held.epoch, self.state.document(), held.version)
        committed(self, pendings, object_id)

    with mock.patch.object(Activation, "committed", of_now):
        yield


# ---------------------------------------------------------------- call ids


@mutant("ids forgotten with the snapshot", "duplicates", "ids outlive their rows: trimming never follows the snapshot")
def _forgetful() -> Iterator[None]:
    recall = MemoryServer._recall

    def since_the_snapshot(self: Any, object_id: int, call_id: str) -> Any:
        recorded = recall(self, object_id, call_id)
        row = self.objects.get(object_id)
        if isinstance(recorded, Recorded) and row.snapshots and recorded.seq <= max(row.snapshots):
            return None
        return recorded

    with mock.patch.object(MemoryServer, "_recall", since_the_snapshot):
        yield


@mutant("own ids go with their rows", "windows", "callers' own ids outlive their rows (P3)")
def _own_ids_trimmed() -> Iterator[None]:
    trim = memory_windows._trim

    def forgetful(server: Any, asked: Any, *args: Any, **kwargs: Any) -> Any:
        trimmed = trim(server, asked, *args, **kwargs)
        server.objects[asked.object_id].remembered.clear()
        return trimmed

    with mock.patch.object(memory_windows, "_trim", forgetful):
        yield


@mutant("no horizon", "windows", "a generated id that may have been trimmed is CallExpired, never a second run")
def _no_horizon() -> Iterator[None]:
    with mock.patch.object(memory_server, "forgotten", return_value=False):
        yield


@mutant("the horizon is a time of rows", "windows", "an id is compared with ids: no clock decides what is expired")
def _horizon_by_rows() -> Iterator[None]:
    trim = memory_windows._trim

    def by_rows(server: Any, asked: Any, *args: Any, **kwargs: Any) -> Any:
        row = server.objects[asked.object_id]
        at = {entry.call_id: entry.at for _, entry in row.journal.values()}
        with mock.patch.object(memory_windows, "horizon", lambda call_ids: max((at[one] for one in call_ids), default=None)):
            return trim(server, asked, *args, **kwargs)

    with mock.patch.object(memory_windows, "_trim", by_rows):
        yield


@mutant("rows without a snapshot go", "windows", "rows go up to a snapshot only, so that every row that stays can be rebuilt")
def _beyond_the_snapshot() -> Iterator[None]:
    cut = memory_windows.cut

    def all_of_it(first: int, head: int, bases: Any, limit: int, **kwargs: Any) -> Any:
        return cut(first, head, [head] if bases else [], limit, **kwargs)

    with mock.patch.object(memory_windows, "cut", all_of_it):
        yield


@mutant("duplicates run side by side", "duplicates", "a concurrent duplicate waits for the first (P3)")
def _side_by_side() -> Iterator[None]:
    accept = Activation.accept

    def forgetful(self: Activation, call: Any) -> None:
        if call.method.recorded:
            self.calls.pop(call.call_id, None)
        accept(self, call)

    with mock.patch.object(Activation, "accept", forgetful):
        yield


@mutant("retries are not looked up", "duplicates", "retries and callers' own ids are looked up")
def _no_look_up() -> Iterator[None]:
    with mock.patch.object(Host, "look_up"):
        yield


@mutant("refusals are not recorded", "duplicates", "a caller's own id always writes a row, also for a refusal")
def _no_refusals() -> Iterator[None]:
    writes = Durable.writes

    def only_changes(self: Any, **facts: bool) -> bool:
        return not facts["refused"] and writes(self, **facts)

    with mock.patch.object(Durable, "writes", only_changes):
        yield


@mutant("another owner's row taken for one's own", "held", "an unknown outcome is settled by what the journal holds (fence 4)", limit=300)
def _mistaken() -> Iterator[None]:
    recorded = Pipeline._recorded

    async def as_if_own(self: Any, batch: Any) -> dict[Any, Any]:
        found = await recorded(self, batch)
        return {pending: replace(row, seq=pending.entry.seq, at=pending.entry.at) for pending, row in found.items()}

    with mock.patch.object(Pipeline, "_recorded", as_if_own):
        yield


# ---------------------------------------------------------------- the hunt


FENCE = frozenset({"buried", "superseded", "owners"})
"""Kinds of violations that the database's log shows before any caller could notice."""


@dataclass
class Catch:
    """How a mutant was caught."""

    mutant: Mutant
    seeds: int = 0
    """How many seeds it took; 0: it was not caught."""
    kinds: set[str] = field(default_factory=set)
    report: Report | None = None
    clean: bool = True
    """Whether the code as it is passed the same seeds."""


def hunt(mutant: Mutant, *, beyond_the_fence: bool = False, baseline: dict[tuple[str, int], bool] | None = None) -> Catch:
    """Run a mutant's aimed seeds until one fails; ``beyond_the_fence``: until callers or the journal show it."""
    catch = Catch(mutant)
    passed = {} if baseline is None else baseline
    for seed in range(mutant.limit):
        with mutant.patch():
            report = simulate(mutant.profile, seed)
        if (mutant.profile, seed) not in passed:
            passed[mutant.profile, seed] = not simulate(mutant.profile, seed).violations
        catch.clean = catch.clean and passed[mutant.profile, seed]
        kinds = report.kinds - FENCE if beyond_the_fence else report.kinds
        if kinds:
            catch.seeds, catch.kinds, catch.report = seed + 1, report.kinds, report
            break
    return catch


__all__ = ["MUTANTS", "Catch", "Mutant", "hunt"]
