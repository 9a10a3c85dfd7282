"""Decode a collection into the cache: python scripts/prepare.py dataset=lfw."""

# Hydra completes in a shell only in a file with the text @hydra.main.
from mlvae.commands.main import run

if __name__ == "__main__":
    run("prepare")
