"""Benchmarks of durable objects on a real database: ratios measured in one run, never absolute figures alone.

``manage.py jido_bench`` runs the first block (``calls``) on a user's own database; ``python -m benchmarks`` of the repository
runs it too, and the tables of scale. Nothing here is imported by the library itself: object types and tables of the bench
exist only while it runs.

Invariant: what a run makes is named ``jido_bench…``, types and tables alike, and is removed when it ends (``stage``).
"""
