"""Objects in tests.

Inside a plain ``django.test.TestCase`` (and pytest's ``django_db``) a call is carried by the test's own thread, and all that
an object writes is written on the test's own connection, inside the transaction that is rolled back when the test ends. It
needs no settings and works with SQLite in memory. Where a test has no such transaction (``TransactionTestCase``,
``django_db(transaction=True)``), objects run as in production, on the host's own thread and connections.

``jido_host`` and ``jido_clock`` act on whichever of the two serves the test. Under pytest the fixtures of these names are the
same objects; elsewhere import them from here. Nothing of this package is used outside a test run (``environment``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .controls import JidoClock, JidoHost, jido_clock, jido_host

__all__ = ["JidoClock", "JidoHost", "jido_clock", "jido_host"]


def __getattr__(name: str) -> Any:
    # pytest imports this package, for its plugin, in every run; Django and the runtime are imported when they are needed.
    if name in __all__:
        from . import controls

        return getattr(controls, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
