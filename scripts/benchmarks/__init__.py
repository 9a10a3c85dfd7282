"""What `python scripts/benchmark.py` measures, one file per question."""
