"""How a turn runs: inline on the host's loop, awaited as a task of its own, or in a transaction (``transacting``).

Either way it ends in ``Activation.complete`` or ``Activation.abort``, and nothing it did is observable before its commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import events, existence, transacting, watching
from .errors import DeadlineExceeded, TurnTimeout
from .limits import CANCEL_GRACE, LOOP_HELD_SECONDS
from .state import current_turn
from .turns import Call, Turn

if TYPE_CHECKING:
    from .activation import Activation


def execute(activation: Activation, call: Call) -> None:
    """Run one call, or answer it without running; the mailbox goes on when ``activation.turn`` is free again."""
    host = activation.host
    started = host.clock.monotonic()
    activation.last_used = started
    if call.recorded is not None:
        activation.answer_recorded(call)
        return
    if call.message is not None and not call.message.admitted(activation):
        return
    if started >= call.deadline:
        activation.fail(call, DeadlineExceeded(str(call), call_id=call.call_id))
        return
    method = call.method
    if method.transactional and (refused := transacting.refusal(activation, call)) is not None:
        activation.fail(call, refused)
        return
    turn = Turn(call, method.query, host.clock.now(), call.deadline - started)
    refusal = existence.refusal(activation, method) if activation.definition.creators else None
    if refusal is not None:
        activation.abort(call, turn, refusal)
        return
    call.started = True
    activation.turn = turn
    on_create = activation.definition.hooks.get("on_create") if activation.seq == 0 and not method.query else None
    if method.transactional:
        transacting.start(activation, call, turn, on_create)
        return
    if method.is_async or (on_create is not None and asyncio.iscoroutinefunction(on_create)):
        activation.task = host.spawn(_guarded(activation, call, turn, on_create))
        return
    token = current_turn.set(turn)
    host.holding = (started, call)
    span = watching.begun(call, started) if events.listening else None
    activation.state.begin(turn)
    try:
        if call.message is not None:
            call.message.begin(activation, turn)
        if on_create is not None:
            on_create(activation.instance)
        if method.mutable:
            args, kwargs = method.fresh(call.args, call.kwargs)
            result = method.function(activation.instance, *args, **kwargs)
        elif call.kwargs:
            result = method.function(activation.instance, *call.args, **call.kwargs)
        else:
            result = method.function(activation.instance, *call.args)
        activation.complete(call, turn, result)
    except BaseException as error:
        activation.abort(call, turn, error)
    finally:
        if span is not None:
            span.leave(detach=True)
        current_turn.reset(token)
        activation.turn = None
        host.holding = None
        if host.clock.monotonic() - started > LOOP_HELD_SECONDS:
            host.held_too_long(call, host.clock.monotonic() - started)


async def _guarded(activation: Activation, call: Call, turn: Turn, on_create: Callable[[Any], Any] | None) -> None:
    try:
        await _awaited(activation, call, turn, on_create)
    except Exception as error:
        activation.broken(call, error)


async def _awaited(activation: Activation, call: Call, turn: Turn, on_create: Callable[[Any], Any] | None) -> None:
    task = asyncio.current_task()
    assert task is not None
    current_turn.set(turn)
    timed_out = False
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def expire() -> None:
        nonlocal timed_out, timer
        if not timed_out:
            timed_out = True
            task.cancel()
            timer = loop.call_later(CANCEL_GRACE, expire)
        elif not turn.ended:
            # The coroutine swallowed its cancellation: whatever it still does finds its turn closed.
            activation.abort(call, turn, TurnTimeout(str(call), activation.options.turn_timeout), own=True)
            activation.turn = None
            activation.host.drop(activation, f"{call} did not end when it was cancelled")

    timer = loop.call_later(activation.options.turn_timeout, expire)
    span = watching.begun(call, activation.last_used) if events.listening else None
    activation.state.begin(turn)
    try:
        async with activation.host.turn_scope():
            if call.message is not None:
                call.message.begin(activation, turn)
            if on_create is not None:
                made = on_create(activation.instance)
                if asyncio.iscoroutine(made):
                    await made
            args, kwargs = call.method.fresh(call.args, call.kwargs) if call.method.mutable else (call.args, call.kwargs)
            result = call.method.function(activation.instance, *args, **kwargs)
            if call.method.is_async:
                result = await result
        if turn.ended:
            return
        if timed_out:
            activation.abort(call, turn, TurnTimeout(str(call), activation.options.turn_timeout), own=True)
        else:
            activation.complete(call, turn, result)
    except BaseException as error:
        if turn.ended:
            return
        if timed_out:
            activation.abort(call, turn, TurnTimeout(str(call), activation.options.turn_timeout), own=True)
        else:
            activation.abort(call, turn, error)
    finally:
        timer.cancel()
        if span is not None:
            # The context that it entered ends with this task.
            span.leave(detach=False)
        if activation.task is task:
            activation.task = None
            activation.turn = None
            if activation.is_live():
                # Not from here: the turns that follow must not run in this turn's context.
                activation.host.soon(activation.pump)
