"""Whether this is a test run: Django's runner, or pytest-django, has set up the test environment. Imports nothing before it is."""

from __future__ import annotations

import sys

from .. import process


def take_part() -> None:
    """In a test run let ``switch`` choose the runtime, call by call; elsewhere do nothing."""
    utils = sys.modules.get("django.test.utils")
    if utils is None or not hasattr(utils._TestState, "saved_data"):
        return
    from django.db.models.signals import post_migrate

    from . import switch

    post_migrate.connect(switch.flushed, dispatch_uid="jido_objects.testing")
    process.use(switch.choose)
