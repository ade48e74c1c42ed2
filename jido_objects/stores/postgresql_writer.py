"""A lane of a term on PostgreSQL: what a host writes for its objects, one fenced statement at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from psycopg.pq.abc import PGresult

from ..errors import OutcomeUnknown, StoreError, StoreUnavailable, Unacceptable
from ..limits import RETENTION_ROWS
from . import arrays, message_statements, postgresql_messages, statements
from .link import ConnectionLost, Link, NotSent, ServerError, Statement
from .messages import Revised, Taken
from .postgresql_append import FORMAT_VALUE, ended, named, outcomes, prepare, still_there
from .protocol import Append, Appended, Claim, Snapshot, TermEnded
from .sqlstates import Duplicate, refusal
from .windows import SHARES

if TYPE_CHECKING:
    from .postgresql import PostgresStore

_FORGETTABLE = 1000
"""At so many claims that a crash may forget, the next one waits for the disk."""


class PostgresWriter:
    """A connection and its lane; implements ``Writer``."""

    def __init__(self, store: PostgresStore, term: UUID) -> None:
        self._store = store
        self._term = term
        self._link: Link | None = None
        self._lanes: list[UUID] = []
        """Lanes whose statements may still be under way; the last is the one in use."""
        self._lane = b""
        self._unsettled = False
        self._forgettable: list[Claim] = []
        """Claims that a crash of the server may forget: not yet followed by a commit that waited for the disk."""

    # ---------------------------------------------------------------- the lane

    async def begin(self) -> None:
        """Connect, and begin a new lane. Raises ``TermEnded``, ``StoreUnavailable``."""
        lane = uuid4()
        link = await self._store.connect(self._name(lane))
        # Noted before it is sent: an insert that lands after its reply was lost leaves a lane to be ended like any other.
        self._lanes.append(lane)
        try:
            result = await link.execute(statements.BEGIN_LANE, [lane.hex.encode(), self._term.hex.encode()])
        except ServerError as error:
            link.close()
            raise refusal(error, self._store.name) from error
        except (NotSent, ConnectionLost) as error:
            raise StoreUnavailable(str(error)) from error
        except BaseException:
            link.close()
            raise
        if result.command_tuples != 1:
            link.close()
            raise TermEnded(self._term)
        self._lane = lane.hex.encode()
        await self._remind(link)
        self._link, self._unsettled = link, False

    def _name(self, lane: UUID) -> str:
        return named(self._term.hex, lane.hex)

    async def settle(self) -> None:
        if self._link is not None:
            self._link.close()
        self._unsettled = True
        link = await self._store.connect(f"jido settling {self._term.hex}")
        try:
            while self._lanes:
                # Waits for the old backend, if it still runs the statement; after the deletion it finds no lane.
                lane = self._lanes[0]
                await self._store.delete_lane(link, lane, self._name(lane))
                del self._lanes[0]
        except OutcomeUnknown as error:
            raise StoreUnavailable(str(error)) from error
        finally:
            link.close()
        await self.begin()

    async def close(self) -> None:
        if self._link is not None:
            self._link.close()

    async def _execute(self, what: str, statement: Statement, parameters: Sequence[bytes | None]) -> PGresult:
        link = self._link
        if self._unsettled or link is None:
            raise RuntimeError("the outcome of the last statement is unknown: settle first")
        if link.broken is not None:
            # Nothing was in flight when it broke, so the lane can go on over a new connection.
            link = await self._store.connect(self._name(self._lanes[-1]))
            await self._remind(link)
            self._link = link
        try:
            return await link.execute(statement, parameters)
        except ServerError as error:
            raise refusal(error, self._store.name) from error
        except NotSent as error:
            raise StoreUnavailable(str(error)) from error
        except ConnectionLost as error:
            self._unsettled = True
            raise OutcomeUnknown(what, str(error)) from error
        except asyncio.CancelledError:
            self._unsettled = True
            link.close()
            raise

    async def _remind(self, link: Link) -> None:
        """On a new connection: the server may have crashed. What it has forgotten is claimed once more, with the same epoch."""
        if not self._forgettable:
            return
        try:
            result = await link.execute(statements.CLAIM, self._claim_parameters(self._forgettable))
        except ServerError as error:
            link.close()
            raise refusal(error, self._store.name) from error
        except (NotSent, ConnectionLost) as error:
            # Whether it landed does not matter: it changes only what had been forgotten, to what it was.
            raise StoreUnavailable(str(error)) from error
        except BaseException:
            link.close()
            raise
        if not result.ntuples:
            link.close()
            raise TermEnded(self._term)
        self._forgettable.clear()

    def _written_to_disk(self) -> None:
        # The log is flushed in order: with this commit, all before it.
        if self._forgettable:
            self._forgettable.clear()

    # ---------------------------------------------------------------- fenced writes

    async def append(self, batch: Sequence[Append]) -> list[Appended]:
        if not batch:
            return []
        try:
            return await self._append(batch)
        except (Unacceptable, ValueError) as error:
            if len(batch) > 1:
                return await self._append_each(batch)
            if isinstance(error, Duplicate):
                return [None]  # somebody's row stands where the first of ours would: the fence's business, not the data's
            return [error if isinstance(error, Unacceptable) else Unacceptable(str(error))]

    async def _append_each(self, batch: Sequence[Append]) -> list[Appended]:
        outcomes: list[Appended] = []
        for append in batch:
            try:
                outcomes += await self.append([append])
            except OutcomeUnknown:
                raise
            except (StoreError, TermEnded) as error:
                if not any(isinstance(outcome, int) for outcome in outcomes):
                    raise
                # Some objects of the batch are written, so it cannot be said that nothing happened.
                self._unsettled = True
                raise OutcomeUnknown("a batch", str(error)) from error
        return outcomes

    async def _append(self, batch: Sequence[Append]) -> list[Appended]:
        prepared = prepare(self._lane, batch, self._store.skew)
        result = await self._execute("a batch", prepared.statement, prepared.parameters)
        if ended(prepared, result):
            raise TermEnded(self._term)
        found = outcomes(batch, prepared, result)
        if found is None:
            return await self._written(batch)
        if prepared.statement is not statements.APPEND_AND_CREATE:
            self._written_to_disk()
        return found

    async def _written(self, batch: Sequence[Append]) -> list[Appended]:
        try:
            result = await self._execute("a batch", statements.WRITTEN, still_there(self._lane, batch))
        except StoreError as error:
            self._unsettled = True
            raise OutcomeUnknown("a batch", str(error)) from error
        places = {int(result.get_value(row, 0) or 0) for row in range(result.ntuples)}
        if not places:
            raise TermEnded(self._term)
        return [append.object_id if place in places else None for place, append in enumerate(batch, 1)]

    async def claim(self, claims: Sequence[Claim]) -> list[int | None]:
        # Two commits at most. Should the second fail, what the first has claimed is the term's own and can be claimed again.
        quick = len(self._forgettable) < _FORGETTABLE
        taken: set[int] = set()
        if again := [claim for claim in claims if claim.again and quick]:
            ids = await self._claim(statements.CLAIM_AGAIN, again)
            self._forgettable += [claim for claim in again if claim.object_id in ids]
            taken |= ids
        if first := [claim for claim in claims if not (claim.again and quick)]:
            ids = await self._claim(statements.CLAIM, first)
            if ids:
                self._written_to_disk()
            taken |= ids
        return [claim.epoch + 1 if claim.object_id in taken else None for claim in claims]

    async def _claim(self, statement: Statement, claims: Sequence[Claim]) -> set[int]:
        result = await self._execute("a claim", statement, self._claim_parameters(claims))
        if not result.ntuples:
            raise TermEnded(self._term)
        return {id_ for row in range(result.ntuples) if (id_ := int(result.get_value(row, 0) or 0)) >= 0}

    def _claim_parameters(self, claims: Sequence[Claim]) -> list[bytes]:
        # In one order everywhere: two claimers of the same objects must not lock them crosswise.
        ordered = sorted(claims, key=lambda claim: claim.object_id)
        return [self._lane, arrays.plain([claim.object_id for claim in ordered]), arrays.plain([claim.epoch for claim in ordered])]

    async def take(self, limit: int, *, adopt: bool = True) -> list[Taken]:
        parameters = [self._lane, self._skew, b"%d" % limit, b"t" if adopt else b"f"]
        taken = postgresql_messages.taken(await self._execute("taking messages", message_statements.TAKE, parameters))
        if taken is None:
            raise TermEnded(self._term)
        return taken

    async def revise(self, revised: Sequence[Revised]) -> None:
        parameters = [self._lane, self._skew, *postgresql_messages.revisions(revised)]
        if not (await self._execute("revising messages", message_statements.REVISE, parameters)).ntuples:
            raise TermEnded(self._term)

    @property
    def _skew(self) -> bytes:
        return str(self._store.skew).encode()

    async def snapshot(self, snapshots: Sequence[Snapshot]) -> list[bool]:
        parameters = [
            self._lane,
            FORMAT_VALUE,
            arrays.plain([s.object_id for s in snapshots]),
            arrays.plain([s.seq for s in snapshots]),
            arrays.plain([s.epoch for s in snapshots]),
            arrays.plain([s.version for s in snapshots]),
            arrays.texts([s.document for s in snapshots]),
            arrays.plain([s.retention / SHARES for s in snapshots]),
            b"%d" % (RETENTION_ROWS // SHARES),
        ]
        result = await self._execute("a snapshot", statements.SNAPSHOT, parameters)
        if not result.ntuples:
            raise TermEnded(self._term)
        taken = {(int(result.get_value(row, 0) or 0), int(result.get_value(row, 1) or 0)) for row in range(result.ntuples)}
        return [(snapshot.object_id, snapshot.seq) in taken for snapshot in snapshots]
