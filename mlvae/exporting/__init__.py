"""Trained models outside of the library: ONNX graphs, safetensors, the Hugging Face Hub."""

from mlvae.exporting.export import export
from mlvae.exporting.share import share

__all__ = ["export", "share"]
