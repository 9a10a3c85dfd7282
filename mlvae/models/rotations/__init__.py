"""Trajectories whose transitions are rotations of a sphere, one for each action."""

from mlvae.models.rotations.model import Rotations, RotationsOptions
from mlvae.models.rotations.planes import entanglement, planes, rotation_matrices
from mlvae.models.rotations.planning import Plan
from mlvae.models.rotations.structure import Structure, structure

__all__ = [
    "Plan",
    "Rotations",
    "RotationsOptions",
    "Structure",
    "entanglement",
    "planes",
    "rotation_matrices",
    "structure",
]
