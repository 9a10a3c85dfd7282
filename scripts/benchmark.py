"""Measure the speed of training and of data handling: python scripts/benchmark.py."""

from mlvae.commands.benchmark import command

if __name__ == "__main__":
    command()
