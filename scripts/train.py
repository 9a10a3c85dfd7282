"""Train a model: python scripts/train.py dataset=mnist trainer.epochs=20."""

# Hydra completes in a shell only in a file with the text @hydra.main.
from mlvae.commands.main import run

if __name__ == "__main__":
    run("train")
