"""Side by side, in one run: ``python -m benchmarks``."""
