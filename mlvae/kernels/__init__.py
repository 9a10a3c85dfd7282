"""Kernels of our own: where a CUDA device would wait for many small ones that PyTorch has."""
