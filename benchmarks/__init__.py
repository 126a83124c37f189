"""Ratios against the obvious way and the floor, both measured in one run (``python -m benchmarks``)."""
