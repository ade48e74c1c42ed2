"""What is remembered of calls, and for how long: the answers to ids that are not there, or not any more.

An id that is found is answered as recorded. One that is not found was never applied, unless it may have been trimmed: a caller's
own id outlives its row, and a generated one is compared with its object's horizon by the store (``Forgotten``). So a generated
id never runs a second time, whatever was trimmed and whatever clocks said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .definition import Definition
from .errors import CallExpired, UnknownCall, UnknownMethod
from .rebuilding import replayed
from .stores.protocol import Forgotten, Recorded
from .turns import Call, Name, describe

if TYPE_CHECKING:
    from .host import Host


def expired(host: Host, call: Call) -> CallExpired:
    """What a call is told whose id may have been applied and forgotten."""
    return CallExpired(call.call_id, host.trimmer.retention(call.name[0]), call_id=call.call_id)


async def result(host: Host, definition: Definition, name: Name, call_id: str) -> Any:
    """The recorded result of a call, or its refusal, raised. Raises ``UnknownCall``, ``CallExpired``."""
    found = await host.ask(lambda: host.finding.ask(name))
    recorded: Recorded | Forgotten | None = None
    if found is not None:
        object_id = found.id
        recorded = await host.ask(lambda: host.recalling.ask((object_id, call_id)))
    if recorded is None:
        raise UnknownCall(call_id, describe(name), call_id=call_id)
    if isinstance(recorded, Forgotten):
        raise CallExpired(call_id, host.trimmer.retention(name[0]), call_id=call_id)
    method = definition.stored_method(recorded.method)
    if method is None:
        raise UnknownMethod(definition.cls.__name__, recorded.method, ": the call was recorded by code that had one", call_id=call_id)
    value, error = replayed(method, recorded.kind, recorded.result)
    if error is not None:
        error.call_id = call_id  # type: ignore[attr-defined]
        raise error
    return value
