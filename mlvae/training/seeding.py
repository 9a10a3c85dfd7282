"""Every random number comes from a generator seeded by (seed, purpose, step).

Nothing random is carried from one step to the next, so a resumed run draws what an uninterrupted
one would, and the state of all generators is the seed and the step.
"""

from __future__ import annotations

import hashlib

import torch

__all__ = ["default_generator", "seeded"]


def seeded(generator: torch.Generator, seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """``generator`` itself, set to the state that (seed, purpose, step) stands for."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return generator.manual_seed(int.from_bytes(digest, "big") >> 1)


def default_generator(device: torch.device) -> torch.Generator:
    """PyTorch's own generator of ``device``: what a dropout layer draws from, asking nobody."""
    if device.type == "cpu":
        return torch.default_generator
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]
