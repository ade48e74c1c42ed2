"""Hypothesis profiles: a bounded run for `make test`, the counts of `docs/promises.md` for `make proof`."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("quick", max_examples=100, deadline=None)
settings.register_profile("proof", max_examples=500, deadline=None)
settings.load_profile("quick")
