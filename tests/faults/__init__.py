"""Real host processes on real databases, killed, frozen and cut off: ``python -m tests.faults``."""
