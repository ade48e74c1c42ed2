"""The host of this process: its own daemon thread with its own loop, beside a small lease-keeper thread.

Nothing starts at import. The first call starts it, with a pid check, so that a server that forks its workers gets one host
per worker. Calls come in from other threads and loops through one deque that wakes the loop once per burst, and answers
leave the same way: a hop per call would cap everything at about 20,000 calls a second.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import logging
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings as django_settings
from django.db import connections

from . import events
from .clock import Clock, SystemClock
from .errors import ConfigurationError, HostStopped, JidoError, StoreError
from .host import Host, HostSettings
from .lease import Keeper
from .limits import LOOP_HELD_SECONDS
from .liveness import proven_dead, this_process
from .logs import about
from .orm import turn_scope
from .runtime import Runtime, ThreadReply, WaitingReply
from .stores.opening import open_store
from .stores.protocol import SharesTransactions
from .transactions import AfterCommit, TransactionPool
from .turns import Call

if TYPE_CHECKING:
    from .conf import Settings

logger = logging.getLogger("jido_objects.process")

T = TypeVar("T")

WATCH_SECONDS = 0.02
STOP_SECONDS = 8.0
AFTER_COMMIT_SECONDS = 2.0
"""What is left of ``on_commit`` at a stop has so long."""


class Process:
    """The runtime of one process; implements ``Runtime``."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.pid = os.getpid()
        self.settings = settings
        self.clock = clock or SystemClock()
        self.loop = self._new_loop()
        self.host: Host | None = None
        self.stopped = False
        self._incoming: deque[Call] = deque()
        self._answered: list[Callable[[], None]] = []
        self._woken = False
        self._starting: asyncio.Task[Host] | None = None
        # Callbacks run in the context they were scheduled from; a caller's must not reach the host.
        self._context = contextvars.Context()
        self._launch()

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def _launch(self) -> None:
        self._thread = threading.Thread(target=self._run, name="jido-host", daemon=True)
        self._keeper = _KeeperThread(self)
        self._after_commit = AfterCommit()
        contextvars.Context().run(self._thread.start)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.close()

    @property
    def thread_id(self) -> int | None:
        return self._thread.ident

    # -------------------------------------------------------------------------------------------- in

    def reply(self) -> WaitingReply:
        """What a thread without an event loop waits with."""
        return ThreadReply()

    def in_transaction(self) -> bool:
        """Whether this thread is inside an ``atomic()`` block on the objects' database."""
        return connections[self.settings.DATABASE].in_atomic_block

    def submit(self, call: Call) -> None:
        """Hand a call to the host, from any thread."""
        self._incoming.append(call)
        # Set before the loop drains and cleared by it first: a call that comes in between wakes it once too often, never
        # too seldom.
        if not self._woken:
            self._woken = True
            self._call_soon(self._take)

    def submit_all(self, calls: list[Call]) -> None:
        """``submit`` for several, with one wake."""
        self._incoming.extend(calls)
        if not self._woken:
            self._woken = True
            self._call_soon(self._take)

    def withdraw(self, call: Call) -> None:
        """The caller's time is up: let the host say for certain what can be said."""
        self._call_soon(lambda: self.host.withdraw(call) if self.host is not None else None)

    def nudge(self) -> None:
        """There is a new message. Whoever may deliver it here is started for that."""
        if self.settings.HOST != "never" and not self.settings.PAUSED:

            async def look(host: Host) -> None:
                host.inbox.nudge()

            with contextlib.suppress(HostStopped):
                self._start(self._answer(look))

    async def ask(self, question: Callable[[Host], Awaitable[T]]) -> T:
        """Ask the host something, from any event loop."""
        if asyncio.get_running_loop() is self.loop:
            return await self._answer(question)
        return await asyncio.wrap_future(self.begin(question))

    def ask_blocking(self, question: Callable[[Host], Awaitable[T]], timeout: float) -> T:
        """``ask`` from a thread without an event loop."""
        return self.begin(question).result(timeout)

    def begin(self, question: Callable[[Host], Awaitable[T]]) -> Future[T]:
        """``ask`` without waiting."""
        return self._start(self._answer(question))

    async def _answer(self, question: Callable[[Host], Awaitable[T]]) -> T:
        return await question(await self._hosting())

    def _start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        if self.stopped:
            coroutine.close()
            raise HostStopped("the call")
        return self._context.copy().run(asyncio.run_coroutine_threadsafe, coroutine, self.loop)

    def _call_soon(self, callback: Callable[[], None]) -> None:
        if self.stopped:
            self._refuse()
            return
        try:
            self.loop.call_soon_threadsafe(callback, context=self._context)
        except RuntimeError:
            self._refuse()

    def _refuse(self) -> None:
        while self._incoming:
            call = self._incoming.popleft()
            call.fail(HostStopped(str(call), call_id=call.call_id))

    def _take(self) -> None:
        self._woken = False
        host = self.host
        if host is None:
            self.loop.create_task(self._start_and_take())
            return
        incoming, dispatch = self._incoming, host.dispatch
        while incoming:
            call = incoming.popleft()
            try:
                dispatch(call)
            except Exception as error:
                if not isinstance(error, JidoError):
                    logger.exception("%s could not be dispatched", call, extra=about(call))
                    error = StoreError(f"{call} could not be dispatched: {error!r}")
                call.fail(error)
        self._wake_answered()

    async def _start_and_take(self) -> None:
        try:
            await self._hosting()
        except Exception as error:
            if not isinstance(error, JidoError):
                logger.exception("The host could not be started", extra=about())
            while self._incoming:
                call = self._incoming.popleft()
                call.fail(
                    type(error)(*error.args) if isinstance(error, JidoError) else StoreError(f"The host could not be started: {error}")
                )
        else:
            self._take()

    async def _hosting(self) -> Host:
        if self.host is not None:
            return self.host
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._make())
        return await asyncio.shield(self._starting)

    async def _make(self) -> Host:
        settings = self.settings
        store = open_store(settings.DATABASE)
        host = Host(
            store,
            self.clock,
            self._host_settings(),
            info=this_process(settings.REGION),
            proven_dead=proven_dead,
            turn_scope=turn_scope,
            held_stack=self._keeper.take_stack,
            answered=self._wake_answered,
            transactions=TransactionPool(settings.DATABASE, store) if isinstance(store, SharesTransactions) else None,
            after_commit=self._after_commit,
        )
        await host.start()
        self._keeper.start()
        # Here and not where it is awaited: between this task's end and its waiters' next step others ask for the host.
        self.host = host
        return host

    def _host_settings(self) -> HostSettings:
        settings = self.settings
        return HostSettings(
            lease_seconds=settings.LEASE_SECONDS,
            stall_seconds=settings.STALL_SECONDS,
            max_activations=settings.MAX_ACTIVATIONS,
            retention=settings.RETENTION,
            call_id_seconds=settings.CALL_ID_SECONDS,
            may_host=settings.HOST != "never",
            paused=settings.PAUSED,
            adopt=settings.HOST == "always" or not short_lived(),
            zone=django_settings.TIME_ZONE,
        )

    # -------------------------------------------------------------------------------------------- out

    def answered(self, wake: Callable[[], None]) -> None:
        """There are answers for a caller's loop: it is woken at the end of this burst of them."""
        if not self._answered:
            # For an answer that is no part of a burst; where it is, its end comes first.
            self.loop.call_soon(self._wake_answered)
        self._answered.append(wake)

    def _wake_answered(self) -> None:
        if self._answered:
            answered, self._answered = self._answered, []
            for wake in answered:
                wake()

    def stop(self) -> None:
        """Finish turns, write what is finished, bury the term; the heartbeat is the last thing to stop. Idempotent."""
        if self.stopped or self.pid != os.getpid():
            return
        if threading.get_ident() == self.thread_id:
            raise ConfigurationError("The host cannot be stopped from inside a turn.")
        self.stopped = True
        try:
            asyncio.run_coroutine_threadsafe(self._finish(), self.loop).result(STOP_SECONDS)
        except TimeoutError:
            logger.warning("The host did not stop within %s s; its lease will run out", STOP_SECONDS, extra=about())
        finally:
            self._refuse()
            self._keeper.stop()
            self._after_commit.close(AFTER_COMMIT_SECONDS)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(STOP_SECONDS)

    async def _finish(self) -> None:
        if self._incoming or (self._starting is not None and not self._starting.done()):
            # Handed over and not yet taken: a process may end right after its first cast.
            await self._start_and_take()
        if self.host is not None:
            await self.host.stop()

    def stack(self) -> str:
        """Where the host's thread is now."""
        frame = sys._current_frames().get(self.thread_id or 0)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""


class _KeeperThread:
    """Renews the lease and watches the host's loop, on a thread and a loop of its own."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._asked_at: float | None = None
        self._told_stuck = False
        self._stack: tuple[Call, str] | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="jido-keeper", daemon=True)
            contextvars.Context().run(self._thread.start)

    def stop(self) -> None:
        thread, loop = self._thread, self._loop
        if thread is not None and loop is not None:
            loop.call_soon_threadsafe(lambda: self._main.cancel() if self._main is not None else None)
            thread.join(STOP_SECONDS)

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            with contextlib.suppress(asyncio.CancelledError):
                runner.run(self._keep())

    async def _keep(self) -> None:
        self._main = asyncio.current_task()
        process = self._process
        store = open_store(process.settings.DATABASE)
        keeper = Keeper(
            store,
            process.clock,
            lambda: process.host.lease if process.host is not None else None,
            stuck=self._stuck,
            renewed=lambda lease: self._tell(lambda host: host.renewed()),
            lost=lambda lease: self._tell(lambda host: host.term_lost(lease)),
            emit=lambda event: self._tell(lambda host: events.emit(event)),
        )
        watching = asyncio.create_task(self._watch())
        try:
            await keeper.run()
        finally:
            watching.cancel()
            await store.close()

    def _tell(self, what: Callable[[Host], None]) -> None:
        host = self._process.host
        if host is not None and not self._process.stopped:
            self._process._call_soon(lambda: what(host))

    def _stuck(self) -> bool:
        """Whether the host's loop has not answered for too long: such a host must not keep its objects from others."""
        process = self._process
        now = process.clock.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            self._told_stuck = False
            process._call_soon(self._answered)
            return False
        stuck = now - self._asked_at > process.settings.STALL_SECONDS
        if stuck and not self._told_stuck:
            self._told_stuck = True
            holding = process.host.holding if process.host is not None else None
            logger.error(
                "The host's loop has been stuck for %.1f s; its lease is no longer renewed. It is here:\n%s",
                now - self._asked_at,
                process.stack(),
                extra=about(holding[1] if holding is not None else None),
            )
        return stuck

    def _answered(self) -> None:
        self._asked_at = None

    async def _watch(self) -> None:
        """Take the stack of a turn that holds the loop, while it does."""
        process = self._process
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            host = process.host
            holding = host.holding if host is not None else None
            if holding is None:
                continue
            began, call = holding
            if process.clock.monotonic() - began > LOOP_HELD_SECONDS and (self._stack is None or self._stack[0] is not call):
                self._stack = (call, process.stack())

    def take_stack(self) -> str:
        stack, self._stack = self._stack, None
        return stack[1] if stack is not None else ""


_LONG_LIVED = ("runserver", "testserver", "jido_host")


def short_lived() -> bool:
    """Whether this process is a management command that ends when its work is done: it leaves the messages of objects that are
    not its own to others."""
    if len(sys.argv) < 2:
        return False
    program = Path(sys.argv[0])
    by_django = program.name in ("manage.py", "django-admin") or program.parts[-2:] == ("django", "__main__.py")
    return by_django and sys.argv[1] not in _LONG_LIVED


def _not_set_up() -> Settings:
    raise ConfigurationError("Django is not set up: call django.setup() first, with 'jido_objects' in INSTALLED_APPS.")


def _nothing() -> None:
    pass


_read_settings: Callable[[], Settings] = _not_set_up
_before_start: Callable[[], None] = _nothing


def configure_with(provider: Callable[[], Settings], before_start: Callable[[], None] = _nothing) -> None:
    """Set where a process finds its settings when its runtime starts, and what is run before: it may still ``use`` another one."""
    global _read_settings, _before_start
    _read_settings, _before_start = provider, before_start


_lock = threading.Lock()
_process: Process | None = None
_current: Process | None = None
"""What every call goes to, unless somebody chooses call by call."""
_chooser: Callable[[], Runtime] | None = None
_parents: list[Process] = []
"""Hosts of the process this one was forked from: kept, so that nothing of theirs is closed from here."""


def current() -> Runtime:
    """The runtime for a call from here: the process's own, started on first use, unless a chooser decides (``use``).

    Its own is a thread with an event loop; in a forked child it is the child's. Raises ``ConfigurationError`` where Django is not
    set up, a setting is wrong or gevent has patched threading, and ``HostStopped`` in a process that is about to end. The database
    is first asked for by the first call.
    """
    process = _current
    if process is not None and process.pid == os.getpid() and not process.stopped:
        return process
    return _chosen()


def _chosen() -> Runtime:
    global _current
    if _chooser is None:
        _before_start()
    if _chooser is not None:
        return _chooser()
    _current = own()
    return _current


def use(chooser: Callable[[], Runtime] | None) -> None:
    """Ask ``chooser`` at each call which runtime it goes to; ``None``: all go to the process's own again. For tests."""
    global _chooser, _current
    _chooser, _current = chooser, None


def own(clock: Clock | None = None) -> Process:
    """The process's own runtime, started on first use, then with that clock."""
    global _process
    process = _process
    if process is not None and process.pid == os.getpid() and not process.stopped:
        return process
    with _lock:
        if _exiting:
            raise HostStopped("the call")
        process = _process
        if process is not None and process.pid != os.getpid():
            _parents.append(process)
            process = None
        if process is None or process.stopped:
            _refuse_monkey_patching()
            process = _process = Process(_read_settings(), clock)
        return process


def stop() -> None:
    """Stop this process's runtime if it runs: turns are finished, what is finished is written, and the objects are free for
    others at once. Blocks until that is done, at most 8 seconds for each of its threads. Calls that still wait then get
    ``HostStopped``, or ``OutcomeUnknown`` where their row was on its way. The next call starts a new runtime. Idempotent;
    raises ``ConfigurationError`` inside a turn.
    """
    process = _process
    if process is not None:
        process.stop()


def running() -> Process | None:
    """The process's runtime if it has been started here and not stopped, else ``None``. Starts nothing and raises nothing."""
    process = _process
    return process if process is not None and process.pid == os.getpid() and not process.stopped else None


def _refuse_monkey_patching() -> None:
    module = sys.modules.get("gevent.monkey")
    if module is not None and module.is_module_patched("threading"):
        raise ConfigurationError("gevent has patched threading: the host needs real threads. Use threaded, sync or ASGI workers.")


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
_exiting = False


@atexit.register
def _exit() -> None:
    # A call from a daemon thread must not start a host in a process that is about to be gone.
    global _exiting
    _exiting = True
    stop()
