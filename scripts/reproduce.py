"""Run the experiment behind a table: python scripts/reproduce.py table=mnist_quantitative."""

# Hydra completes in a shell only in a file with the text @hydra.main.
from mlvae.commands.main import run

if __name__ == "__main__":
    run("reproduce")
