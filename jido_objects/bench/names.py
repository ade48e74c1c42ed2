"""What everything that a bench makes is called by."""

from __future__ import annotations

APP = "jido_bench"
