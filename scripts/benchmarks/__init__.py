"""What `python scripts/benchmark.py data` measures, one file per question."""
