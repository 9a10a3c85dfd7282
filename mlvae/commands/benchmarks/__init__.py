"""The measurements of `mlvae benchmark`, one file per measurement."""
