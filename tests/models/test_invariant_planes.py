"""The planes that commuting rotations turn: found in any basis, and only where states are."""

import math

import pytest
import torch

from mlvae import InputError
from mlvae.models import Rotations
from mlvae.models.rotations import invariant_planes, planes, rotation_matrices
from mlvae.networks import MLP


def orthogonal(dim, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))[0]


def torus_actions(turns, basis):
    """Rotations of the planes of axes (0, 1), (2, 3), ... by turns (A, Q), in another basis."""
    dim = len(basis)
    angles = torch.zeros(len(turns), dim * (dim - 1) // 2, dtype=torch.float64)
    for place in range(len(turns[0])):
        column = planes(dim).index((2 * place, 2 * place + 1))
        angles[:, column] = 2 * math.pi * torch.tensor([row[place] for row in turns])
    return basis @ rotation_matrices(angles, dim) @ basis.T


def states_in(basis, directions, number=80, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(number, directions, generator=generator, dtype=torch.float64)
    return drawn @ basis[:, :directions].T


@pytest.mark.parametrize("seed", range(3))
def test_planes_angles_and_periods_are_found_in_any_basis(seed):
    basis = orthogonal(6, seed)
    turns = [[1 / 3, 0, 0], [-1 / 3, 0, 0], [0, 1 / 4, 0], [0, 0, 2 / 7], [1 / 3, 1 / 4, 0]]
    found = invariant_planes(torus_actions(turns, basis), states_in(basis, 6))
    assert found.periods == [3, 3, 4, 7, 12]
    assert found.residual < 1e-12 and found.fixed == pytest.approx(0, abs=1e-12)
    assert float(found.shares.sum()) == pytest.approx(1)
    columns = sorted(
        tuple(column) for column in found.turns.T.abs().mul(84).round().int().tolist()
    )
    assert columns == [(0, 0, 0, 24, 0), (0, 0, 21, 0, 21), (28, 28, 0, 0, 28)]
    axes = found.axes.flatten(0, 1)
    assert torch.allclose(axes @ axes.T, torch.eye(6, dtype=torch.float64), atol=1e-10)


def test_each_action_keeps_the_span_of_the_axes_and_turns_it_by_its_angle():
    basis = orthogonal(4, 1)
    matrices = torus_actions([[0.2, 0], [0.1, 0.3]], basis)
    found = invariant_planes(matrices, states_in(basis, 4))
    for place, (one, other) in enumerate(found.axes):
        for action, matrix in enumerate(matrices):
            angle = 2 * math.pi * float(found.turns[action, place])
            cosine, sine = float(one @ matrix @ one), float(other @ matrix @ one)
            assert cosine == pytest.approx(math.cos(angle))
            assert abs(sine) == pytest.approx(abs(math.sin(angle)))


def test_directions_without_states_have_no_effect():
    basis = orthogonal(6, 2)
    matrices = torus_actions([[0.2, 0, 0.31], [0, 1 / 7, 0]], basis)
    matrices[1] = matrices[1] @ _mixing(basis, axes=(4, 5))
    found = invariant_planes(matrices, states_in(basis, 4))
    assert found.periods == [5, 7] and len(found.shares) == 2


def _mixing(basis, axes):
    """A rotation of one plane of a basis."""
    turn = torch.eye(len(basis), dtype=torch.float64)
    i, j = axes
    turn[i, i] = turn[j, j] = math.cos(1.0)
    turn[i, j], turn[j, i] = -math.sin(1.0), math.sin(1.0)
    return basis @ turn @ basis.T


def test_a_direction_that_no_action_turns_is_fixed():
    basis = orthogonal(5, 3)
    found = invariant_planes(torus_actions([[0.2, 0], [0, 0.25]], basis), states_in(basis, 5))
    assert found.periods == [5, 4] and len(found.shares) == 2
    assert found.fixed == pytest.approx(1 - float(found.shares.sum()))
    assert found.fixed > 0.05


def test_a_flipped_direction_has_one_axis_and_the_period_two():
    basis = orthogonal(3, 4)
    flip = basis @ torch.diag(torch.tensor([-1.0, 1, 1], dtype=torch.float64)) @ basis.T
    found = invariant_planes(flip[None], states_in(basis, 3))
    assert found.periods == [2] and found.turns.abs().tolist() == [[0.5]]
    assert float(found.axes[0, 0].norm()) == pytest.approx(1) and not found.axes[0, 1].any()


def test_rotations_that_do_not_commute_have_a_residual():
    angles = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    found = invariant_planes(rotation_matrices(angles, 3), states_in(torch.eye(3).double(), 3))
    assert found.residual > 0.05


def test_an_action_without_a_small_period_has_none():
    found = invariant_planes(
        torus_actions([[0.2], [0.5**0.5]], torch.eye(2).double()),
        states_in(torch.eye(2).double(), 2),
        most=5,
    )
    assert found.periods == [5, None]


def test_a_model_gives_the_planes_of_its_states():
    model = Rotations((3, 6), latent_dim=4, actions=2, network=MLP(hidden=(8,)))
    frames = torch.rand(40, 6)
    found = model.invariant_planes(frames)
    again = invariant_planes(model.matrices(), model.encode(frames))
    assert torch.equal(found.turns, again.turns)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="matrices"):
        invariant_planes(torch.eye(3)[None], torch.rand(5, 4))
    with pytest.raises(InputError, match="states"):
        invariant_planes(torch.eye(3)[None], torch.zeros(5, 3))
