"""``site`` is a project of its own: its tests run in processes of their own, as its developer would run them."""

collect_ignore = ["site"]
