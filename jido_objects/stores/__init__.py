"""Where objects rest: one protocol, and the stores that keep it."""
