"""A page that decodes a run in the browser: python scripts/explore.py run=runs/first."""

# Hydra completes in a shell only in a file with the text @hydra.main.
from mlvae.commands.main import run

if __name__ == "__main__":
    run("explore")
