"""Families of posteriors: Gaussian, Dirichlet, mixture, point."""

from mlvae.posteriors.dirichlet import Dirichlet
from mlvae.posteriors.family import Family, GroupFamily
from mlvae.posteriors.gaussian import DiagonalGaussian
from mlvae.posteriors.mixture import GroupMixture
from mlvae.posteriors.point import Point

__all__ = ["DiagonalGaussian", "Dirichlet", "Family", "GroupFamily", "GroupMixture", "Point"]
