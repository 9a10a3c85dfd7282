"""The command ``mlvae`` as a module: python -m mlvae train, or torchrun -m mlvae train."""

from mlvae.commands.main import main

if __name__ == "__main__":
    main()
