"""The tutorial works, from an empty directory to its last command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def test_the_tutorial_from_start_to_end(tutorial: Callable[[], Path]) -> None:
    directory = tutorial()
    assert (directory / "shop" / "test_sale.py").exists()
