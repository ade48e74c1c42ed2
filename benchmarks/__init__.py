"""``python -m benchmarks``: the tables of ``docs/performance.md``, as ratios measured in one run."""
