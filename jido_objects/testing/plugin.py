"""The pytest plugin: fixtures ``jido_host`` and ``jido_clock``, there as soon as the package is installed.

Objects need neither of them inside a test with a transaction (``django_db``). Both act on the host of the test, whether that
has a transaction or not. Nothing else is imported before a test asks: pytest loads this in every run of its environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .controls import JidoClock, JidoHost


@pytest.fixture
def jido_host() -> JidoHost:
    """The host that this test's calls go to: ``settle()``, ``crash(ref)``, ``hibernate(ref)``."""
    from .controls import jido_host

    return jido_host


@pytest.fixture
def jido_clock() -> Iterator[JidoClock]:
    """The objects' clock: ``advance(seconds)``, ``now()``. Set back after the test."""
    from .controls import jido_clock

    yield jido_clock
    jido_clock.reset()
