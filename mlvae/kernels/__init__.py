"""Operations of our own for compiled training steps: kernels where PyTorch has many small ones."""
