"""The measurements of `python scripts/benchmark.py`, one file per measurement."""
