"""Export a trained run: python scripts/export.py run=runs/first."""

# Hydra completes in a shell only in a file with the text @hydra.main.
from mlvae.commands.main import run

if __name__ == "__main__":
    run("export")
