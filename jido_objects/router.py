"""The way of a call from a ref to its object, and of the answer back.

A call is bound, checked and copied on the caller's thread; it waits in the way its caller waits: a thread on a lock, a
coroutine on a future of its own loop, a turn on the host's. Answers for one loop leave in bursts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio.events import _get_running_loop
from collections import deque
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.db.models.functions import Now

from . import ids, process
from .errors import BlockingCall, CallExpired, CallTimeout, MessageTooLarge, ObjectException, StoreUnavailable
from .host import Host
from .inbox import check_sendable, send_within, stored
from .limits import CALL_TIMEOUT, MESSAGE_BYTES
from .methods import Method
from .process import Process
from .refs import Ref
from .turns import Call, Turn, describe, open_turn

logger = logging.getLogger("jido_objects.router")

T = TypeVar("T")

BURST = 32
"""Calls that are handed over before the step has ended: while they are being committed the next ones are prepared."""
SWEEP = 0.25
GRACE = 0.25
"""Seconds past its deadline for which a caller waits for the host to say whether the call was started."""


class ThreadReply:
    """Wakes a thread that waits on a lock."""

    __slots__ = ("_lock", "error", "result")

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()
        self.result: Any = None
        self.error: BaseException | None = None

    def set_result(self, result: Any) -> None:
        self.result = result
        self._lock.release()

    def set_exception(self, error: BaseException) -> None:
        self.error = error
        self._lock.release()

    def wait(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=max(0.0, timeout))


class CallerLoop:
    """One event loop that calls: its calls leave, and its answers come, in bursts.

    What a loop's tasks call in one of its steps is handed over at the end of that step, and what the host answers in one
    of its own steps comes back at the end of that one: to wake another thread costs more than a call does, and a thread
    that is woken by the first of many finds only that one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, here: Process) -> None:
        self._loop = loop
        self._here = here
        self._leaving: list[Call] = []
        self._answers: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._announced = False
        self._waiting: dict[Call, asyncio.Future[Any]] = {}
        """Calls with the default timeout, so in the order of their deadlines: one timer serves them all."""
        self._sweeping = False

    def serves(self, here: Process) -> bool:
        """Whether it leads to this runtime: a process may have had another one before."""
        return self._here is here

    # -------------------------------------------------------------------------------------------- on the caller's thread

    def send(self, call: Call) -> None:
        leaving = self._leaving
        if not leaving:
            if not self._waiting:
                # Nobody else of this loop is calling: there is no burst to wait for.
                self._here.submit(call)
                return
            self._loop.call_soon(self._hand_over)
        leaving.append(call)
        if len(leaving) >= BURST:
            self._hand_over()

    def _hand_over(self) -> None:
        leaving, self._leaving = self._leaving, []
        if leaving:
            self._here.submit_all(leaving)

    def expect(self, call: Call, future: asyncio.Future[Any]) -> None:
        self._waiting[call] = future
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP, self._sweep)

    def forget(self, call: Call) -> None:
        self._waiting.pop(call, None)

    def _sweep(self) -> None:
        now = self._here.clock.monotonic()
        while self._waiting:
            call, future = next(iter(self._waiting.items()))
            if call.deadline > now:
                self._loop.call_later(SWEEP, self._sweep)
                return
            del self._waiting[call]
            expire(self._here, call, future, CALL_TIMEOUT)
        self._sweeping = False

    def _give(self) -> None:
        answers = self._answers
        while answers:
            future, result, error = answers.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    # -------------------------------------------------------------------------------------------- on the host's thread

    def answer(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._answers.append((future, result, error))
        if not self._announced:
            self._announced = True
            self._here.answered(self.wake)

    def wake(self) -> None:
        self._announced = False
        try:
            self._loop.call_soon_threadsafe(self._give)
        except RuntimeError:
            # The caller's loop is closed: nobody waits any more.
            self._answers.clear()


class LoopReply:
    """Completes a future of another loop."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: CallerLoop, future: asyncio.Future[Any]) -> None:
        self._loop = loop
        self._future = future

    def set_result(self, result: Any) -> None:
        self._loop.answer(self._future, result, None)

    def set_exception(self, error: BaseException) -> None:
        self._loop.answer(self._future, None, error)


def expire(here: Process, call: Call, future: asyncio.Future[Any], timeout: float) -> None:
    """A caller's time is up: the host may still say for certain, then the answer is that it is unknown."""
    if future.done():
        return
    here.withdraw(call)

    def give_up() -> None:
        if not future.done():
            future.set_exception(CallTimeout(str(call), timeout, call.call_id, call_id=call.call_id))

    future.get_loop().call_later(GRACE, give_up)


class HostReply:
    """Completes a future of the host's own loop."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def set_result(self, result: Any) -> None:
        if not self._future.done():
            self._future.set_result(result)

    def set_exception(self, error: BaseException) -> None:
        if not self._future.done():
            self._future.set_exception(error)


class CastReply:
    """Nobody waits: an error is logged."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = str(call)

    def set_result(self, result: Any) -> None:
        pass

    def set_exception(self, error: BaseException) -> None:
        level = logging.INFO if isinstance(error, ObjectException) else logging.ERROR
        logger.log(level, "The cast %s failed: %s: %s", self._call, type(error).__name__, error)


class Router:
    """Carries the calls of this process."""

    def __init__(self) -> None:
        self._callers: WeakKeyDictionary[asyncio.AbstractEventLoop, CallerLoop] = WeakKeyDictionary()

    # -------------------------------------------------------------------------------------------- calls

    def call(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        turn = open_turn()
        if turn is not None or _get_running_loop() is not None:
            raise _blocking(ref, method, turn)
        here = process.current()
        self._refuse_inside_sqlite_transaction(here, ref, method)
        call, timeout = self._prepare(here, ref, method, args, kwargs, None)
        reply = call.reply = ThreadReply()
        here.submit(call)
        if not reply.wait(timeout):
            here.withdraw(call)
            if not reply.wait(GRACE):
                raise CallTimeout(str(call), timeout, call.call_id, call_id=call.call_id)
        if reply.error is not None:
            raise reply.error
        return reply.result

    async def acall(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        here = process.current()
        loop = asyncio.get_running_loop()
        turn = open_turn()
        call, timeout = self._prepare(here, ref, method, args, kwargs, turn)
        future: asyncio.Future[Any] = loop.create_future()
        timer: asyncio.TimerHandle | None = None
        caller: CallerLoop | None = None
        if loop is here.loop:
            call.reply = HostReply(future)
            here.submit(call)
        else:
            caller = self._caller(loop, here)
            call.reply = LoopReply(caller, future)
            caller.send(call)
        if caller is not None and ref.options.timeout is None:
            caller.expect(call, future)
        else:
            timer = loop.call_later(timeout, expire, here, call, future, timeout)
        try:
            return await future
        except asyncio.CancelledError:
            here.withdraw(call)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            elif caller is not None:
                caller.forget(call)

    def _caller(self, loop: asyncio.AbstractEventLoop, here: Process) -> CallerLoop:
        caller = self._callers.get(loop)
        if caller is None or not caller.serves(here):
            caller = self._callers[loop] = CallerLoop(loop, here)
        return caller

    def cast(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        here = process.current()
        turn = open_turn()
        call, _ = self._prepare(here, ref, method, args, kwargs, turn)
        # It does not wait for its sender, so it is no link of the sender's chain.
        call.chain = ()
        call.reply = CastReply(call)

        def leave() -> None:
            here.submit(call)

        loop = _get_running_loop()
        if turn is not None:
            turn.later(leave)
        elif loop is not None and loop is not here.loop:
            # By the way that acall takes, so that it does not overtake what was called before it.
            self._caller(loop, here).send(call)
        elif loop is None and connections[here.settings.DATABASE].in_atomic_block:
            transaction.on_commit(leave, using=here.settings.DATABASE)
        else:
            leave()
        return call.call_id

    def send(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        turn = open_turn()
        if turn is not None:
            return send_within(turn, ref, method, args, kwargs)
        if _get_running_loop() is not None:
            raise BlockingCall(
                f"{ref!r}.send({method.name!r}) writes to the database, and this is a running event loop: "
                f"use `await ref.asend({method.name!r}, …)`."
            )
        return self._insert(ref, method, args, kwargs)

    async def asend(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        turn = open_turn()
        if turn is not None:
            return send_within(turn, ref, method, args, kwargs)
        return await sync_to_async(self._insert)(ref, method, args, kwargs)

    def _insert(self, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        from .models import Inbox

        check_sendable(method)
        encoded = stored(method, args, kwargs)
        here = process.current()
        alias = here.settings.DATABASE
        call_id = ref.options.call_id or ids.generate()
        user = ref.options.user
        Inbox.objects.using(alias).create(
            type=ref.definition.label,
            key=ref.key,
            due=Now(),
            not_before=Now(),
            method=method.name,
            args=encoded[0],
            kwargs=encoded[1],
            call_id=call_id,
            user=None if user is None else str(user),
        )
        transaction.on_commit(here.nudge, using=alias)
        return call_id

    def _prepare(
        self, here: Process, ref: Ref[Any], method: Method, args: tuple[Any, ...], kwargs: dict[str, Any], turn: Turn | None
    ) -> tuple[Call, float]:
        args, kwargs = method.bind(args, kwargs)
        options = ref.options
        timeout = options.timeout or CALL_TIMEOUT
        encoded, digest = b"", 0
        if method.recorded:
            encoded = method.encode_arguments(args, kwargs)
            if len(encoded) > MESSAGE_BYTES:
                raise MessageTooLarge(method.label, len(encoded), MESSAGE_BYTES)
            digest = method.digest(encoded)
        name = (ref.definition.label, ref.key)
        call_id = options.call_id or (ids.generate() if turn is None else turn.nested_id(name, method.name))
        now = here.clock.monotonic()
        call = Call(name, method, args, kwargs, encoded, digest, call_id, now + timeout, None)
        call.user = options.user
        call.confirmed = options.confirmed
        if options.call_id is not None and method.recorded:
            call.lookup = True
            if ids.is_generated(call_id):
                self._refuse_expired(here, call_id)
            else:
                call.own_id = True
        if turn is not None:
            above = turn.call
            if above.deadline < call.deadline:
                call.deadline = above.deadline
                timeout = above.deadline - now
            call.chain = (*above.chain, above.name)
            call.root = above.root
            call.user = options.user or above.user
            if options.call_id is None and method.recorded:
                call.derived = True
                call.own_id = not ids.is_generated(call_id)
                call.lookup = above.lookup or above.attempt > 0 or above.again
        return call, timeout

    def _refuse_expired(self, here: Process, call_id: str) -> None:
        window = here.settings.RETENTION
        if time.time() - ids.generated_at(call_id) > window:
            raise CallExpired(call_id, window, call_id=call_id)

    def _refuse_inside_sqlite_transaction(self, here: Process, ref: Ref[Any], method: Method) -> None:
        connection = connections[here.settings.DATABASE]
        if connection.vendor == "sqlite" and connection.in_atomic_block:
            raise BlockingCall(
                f"{describe((ref.label, ref.key))}.{method.name} was called inside transaction.atomic() on the SQLite database that "
                f"holds the objects: it would wait for that transaction, and so for itself. Call it outside, hand it over with "
                f"cast (it leaves on commit), or use send. In tests use TransactionTestCase or django_db(transaction=True)."
            )

    # -------------------------------------------------------------------------------------------- looking

    def peek(self, ref: Ref[Any]) -> dict[str, Any] | None:
        return self._look(ref, "peek", lambda host: host.read(ref.definition, (ref.label, ref.key)))

    async def apeek(self, ref: Ref[Any]) -> dict[str, Any] | None:
        return await self._alook(ref, "apeek", lambda host: host.read(ref.definition, (ref.label, ref.key)))

    def exists(self, ref: Ref[Any]) -> bool:
        return self._look(ref, "exists", lambda host: host.exists((ref.label, ref.key)))

    async def aexists(self, ref: Ref[Any]) -> bool:
        return await self._alook(ref, "aexists", lambda host: host.exists((ref.label, ref.key)))

    def _look(self, ref: Ref[Any], what: str, question: Callable[[Host], Awaitable[T]]) -> T:
        if _get_running_loop() is not None:
            raise BlockingCall(f"{ref!r}.{what}() blocks, and this is a running event loop: use `await ref.a{what}()`.")
        timeout = ref.options.timeout or CALL_TIMEOUT
        try:
            return process.current().ask_blocking(question, timeout)
        except TimeoutError as error:
            raise _unanswered(ref, what, timeout) from error

    async def _alook(self, ref: Ref[Any], what: str, question: Callable[[Host], Awaitable[T]]) -> T:
        timeout = ref.options.timeout or CALL_TIMEOUT
        try:
            return await asyncio.wait_for(process.current().ask(question), timeout)
        except TimeoutError as error:
            raise _unanswered(ref, what, timeout) from error


def _unanswered(ref: Ref[Any], what: str, timeout: float) -> StoreUnavailable:
    return StoreUnavailable(f"{ref!r}.{what}() has waited for {timeout} s")


def _blocking(ref: Ref[Any], method: Method, turn: Turn | None) -> BlockingCall:
    name = method.name.removeprefix("get:")
    verb = "get" if method.name.startswith("get:") else "call"
    if turn is not None:
        return BlockingCall(
            f"{turn.call} made a blocking {verb} to {ref!r}.{name}: a turn may not block. In an `async def` method use "
            f"`await ref.a{verb}(…)`; to hand it over without waiting use send or cast."
        )
    return BlockingCall(f"{ref!r}.{verb}({name!r}) blocks, and this is a running event loop: use `await ref.a{verb}({name!r}, …)`.")


_router = Router()


def router() -> Router:
    """The router of this process."""
    return _router
