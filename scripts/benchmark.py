"""Measure the speed of training and of data handling: python scripts/benchmark.py."""

from mlvae.commands.main import run

if __name__ == "__main__":
    run("benchmark")
