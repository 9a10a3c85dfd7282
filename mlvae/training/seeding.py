"""Every random number comes from a generator seeded by (seed, purpose, step).

No random state is carried from one step to the next. So a resumed run draws the same numbers as an
uninterrupted one, and the state of all generators is the seed and the step.
"""

from __future__ import annotations

import hashlib

import torch

__all__ = ["default_generator", "seeded"]


def seeded(generator: torch.Generator, seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """``generator`` itself, seeded by a hash of (seed, purpose, step)."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return generator.manual_seed(int.from_bytes(digest, "big") >> 1)


def default_generator(device: torch.device) -> torch.Generator:
    """PyTorch's default generator of ``device``, which dropout layers draw from."""
    if device.type == "cpu":
        return torch.default_generator
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    index = torch.cuda.current_device() if device.index is None else device.index
    return torch.cuda.default_generators[index]
