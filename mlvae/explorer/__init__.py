"""The explorer: a page that decodes a trained model in the browser, without a network."""

from mlvae.explorer.page import explore

__all__ = ["explore"]
