"""Trajectories whose transitions are rotations of a sphere, one for each action."""

from mlvae.models.rotations.invariant import InvariantPlanes, invariant_planes
from mlvae.models.rotations.model import Rotations, RotationsOptions
from mlvae.models.rotations.planes import entanglement, planes, rotation_matrices
from mlvae.models.rotations.planning import Plan
from mlvae.models.rotations.structure import Structure, structure

__all__ = [
    "InvariantPlanes",
    "Plan",
    "Rotations",
    "RotationsOptions",
    "Structure",
    "entanglement",
    "invariant_planes",
    "planes",
    "rotation_matrices",
    "structure",
]
