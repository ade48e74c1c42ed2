"""The pytest plugin, where the package runs from the repository's directory and is not installed."""

from __future__ import annotations

from importlib.metadata import entry_points

NAME = "jido_objects.testing.plugin"


def is_installed() -> bool:
    """Whether pytest finds it by itself."""
    return any(point.value == NAME for point in entry_points(group="pytest11"))
