"""The content of a trajectory: what all its frames share.

Shapes: N trajectories of K frames, ... one frame, C content dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlvae.evidence import Evidence
from mlvae.evidence.rules import with_prior
from mlvae.groups import Groups
from mlvae.likelihoods import Likelihood
from mlvae.models.encoder import build_encoder
from mlvae.models.observed import encoder_inputs
from mlvae.networks import Network
from mlvae.noise import uniform
from mlvae.posteriors import DiagonalGaussian

__all__ = ["TrajectoryContent", "random_frames"]


class TrajectoryContent(nn.Module):
    """The content posterior q(c | x_0, ..., x_K), with the evidence of all frames.

    A trajectory is a group of frames, and its content is accumulated as that of
    :class:`~mlvae.models.MLVAE` by the rule "prior_product". In training mode the evidence is that
    of a random subset of the frames, so that the content of few frames is trained too.

    Args:
        network: builds the encoder of a frame.
        shape: shape of a frame.
        dim: C.
        likelihood: of the frames.
    """

    def __init__(
        self, network: Network, shape: Sequence[int], dim: int, likelihood: Likelihood
    ) -> None:
        super().__init__()
        self.encoder = build_encoder(network, shape, (dim,))
        self.likelihood = likelihood

    def forward(self, x: Tensor, *, generator: torch.Generator | None = None) -> DiagonalGaussian:
        """The posteriors (N, C) of trajectories x (N, K, ...)."""
        number, frames = x.shape[:2]
        (each,) = self.encoder(encoder_inputs(self.likelihood, x.flatten(0, 1)))
        index = torch.arange(number, device=x.device).repeat_interleave(frames)
        sizes = torch.full((number,), frames, device=x.device)
        groups, evidence = Groups.unchecked(index, sizes), Evidence.of(each)
        if self.training:
            evidence = evidence.only(random_frames(sizes, frames, generator).flatten())
        return with_prior(evidence.accumulate(groups))


def random_frames(sizes: Tensor, frames: int, generator: torch.Generator | None) -> Tensor:
    """Random subsets of the frames of trajectories, as :meth:`mlvae.Groups.random_subset`: (N, K).

    A row of the noise is a trajectory, so that a share of a batch draws rows of the whole batch.

    Args:
        sizes: K of each trajectory, (N,).
        frames: K.
        generator: source of the draw; None is torch's default.
    """
    number, device = len(sizes), sizes.device
    share = uniform((number,), generator=generator, device=device)
    kept = torch.exp(share * torch.log1p(sizes)).long().clamp(max=sizes)
    score = uniform((number, frames), generator=generator, device=device)
    return score.argsort(1).argsort(1) < kept[:, None]
