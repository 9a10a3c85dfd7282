"""Rotations: the sphere, the loss, the transitions, plans and the structure of the group."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from mlvae import Batch, Groups, InputError
from mlvae.likelihoods import Gaussian
from mlvae.models import Rotations
from mlvae.models.rotations import entanglement, planes, rotation_matrices, structure
from mlvae.models.rotations.content import random_frames
from mlvae.models.rotations.planning import plan
from mlvae.networks import MLP
from mlvae.noise import ShareGenerator

SMALL = {"network": MLP(hidden=(8,))}


def random_angles(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1) * math.pi


def plane_rotation(i, j, angle, dim):
    """The rotation of one plane, written element by element."""
    matrix = torch.eye(dim, dtype=torch.float64)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[j, i], matrix[i, j] = math.sin(angle), -math.sin(angle)
    return matrix


def trajectories(model, number=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(number, *model.shape, generator=generator)
    options, steps = model.options, model.shape[0] - 1
    if options.continuous:
        action = torch.randn(number, steps, options.actions, generator=generator)
    else:
        action = torch.randint(options.actions, (number, steps), generator=generator)
    return Batch(x, Groups.singletons(number), {"action": action})


# Rotations


@pytest.mark.parametrize("dim", [2, 3, 4, 5, 8])
def test_a_rotation_is_the_ordered_product_of_its_plane_rotations(dim):
    angles = random_angles(3, len(planes(dim)))
    found = rotation_matrices(angles, dim)
    for row, matrix in zip(angles.tolist(), found, strict=True):
        expected = torch.eye(dim, dtype=torch.float64)
        for (i, j), angle in zip(planes(dim), row, strict=True):
            expected = expected @ plane_rotation(i, j, angle, dim)
        torch.testing.assert_close(matrix, expected)


@pytest.mark.parametrize("dim", [2, 4, 9])
def test_rotations_in_float32_are_orthogonal_have_determinant_1_and_keep_the_norm(dim):
    g = rotation_matrices(random_angles(50, len(planes(dim))).float(), dim)
    eye = torch.eye(dim)
    assert float((g @ g.mT - eye).abs().max()) < 1e-6
    assert float((torch.linalg.det(g.double()) - 1).abs().max()) < 1e-6
    states = functional.normalize(torch.randn(50, dim), dim=1)
    assert float(((g @ states[:, :, None]).norm(dim=1) - 1).abs().max()) < 1e-6


class Copies(TorchDispatchMode):
    """Counts the tensors that are made of numbers on the host."""

    number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += func is torch.ops.aten.lift_fresh.default
        return func(*args, **(kwargs or {}))


def test_a_step_copies_no_number_from_the_host_so_that_it_can_be_captured():
    model = Rotations((3, 7), **SMALL)
    batch = trajectories(model)
    with Copies() as copies:
        torch.tensor([1.0])
        assert copies.number == 1
        model(batch).loss.backward()
    assert copies.number == 1


def test_rotations_have_the_gradient_of_finite_differences():
    angles = random_angles(2, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: rotation_matrices(values, 4), [angles])


def test_the_entanglement_is_the_sum_of_squares_without_the_largest():
    angles = torch.tensor([[1.0, -3.0, 2.0], [0.0, 0.0, 0.5]])
    assert float(entanglement(angles)) == pytest.approx((1 + 4 + 0) / 2)
    assert float(entanglement(torch.tensor([[0.0, -3.0, 0.0]]))) == 0


# The objective


def test_the_loss_has_the_published_reduction():
    torch.manual_seed(0)
    model = Rotations((4, 7), actions=3, entanglement_weight=0.5, **SMALL).double()
    batch = trajectories(model)
    x, action = batch.x.double(), batch.given["action"]
    objective = model(Batch(x, batch.groups, batch.given))
    total = 0.0
    for frames, actions in zip(x, action, strict=True):
        raw = model.encoder(frames[:1])[0].mean
        state = raw / raw.norm()
        for time in range(4):
            logits = model.decoder(state)[0, 0]
            total += functional.binary_cross_entropy_with_logits(logits, frames[time]) / 3
            if time < 3:
                angles = model.transition.table[actions[time]]
                for (i, j), angle in reversed(list(zip(planes(4), angles.tolist(), strict=True))):
                    state = state @ plane_rotation(i, j, angle, 4).T
    expected = total / len(x) + 0.5 * entanglement(model.transition.table)
    torch.testing.assert_close(objective.loss, expected)
    assert objective.elbo is None
    terms = objective.per_observation
    parts = terms["reconstruction_log_likelihood"] + terms["prediction_log_likelihood"]
    torch.testing.assert_close(-parts.sum() / (len(x) * 3 * 7), total.detach() / len(x))


def test_the_scale_of_the_entanglement_acts_in_training_alone():
    torch.manual_seed(0)
    model = Rotations((4, 7), entanglement_weight=2.0, **SMALL)
    batch = trajectories(model)
    full = model(batch).loss
    model.entanglement_scale.fill_(0.25)
    mixed = entanglement(model.transition.table)
    torch.testing.assert_close(full - model(batch).loss, 1.5 * mixed)
    torch.testing.assert_close(model.eval()(batch).loss, full)


def test_the_entanglement_of_continuous_actions_is_that_of_the_batch():
    torch.manual_seed(0)
    model = Rotations((3, 7), actions=2, continuous=True, latent_dim=3, **SMALL)
    batch = trajectories(model)
    angles = model.angles(batch.given["action"].flatten(0, 1))
    assert angles.shape == (12, 3)
    torch.testing.assert_close(model(batch).scalars["entanglement"], entanglement(angles))


# States and rollouts


@pytest.mark.parametrize("transition", ["rotation", "network"])
def test_states_stay_on_the_sphere_in_long_rollouts(transition):
    torch.manual_seed(0)
    model = Rotations((3, 7), transition=transition, **SMALL)
    states = model.path(model.encode(torch.rand(5, 7)).detach(), torch.randint(4, (5, 500)))
    assert states.shape == (5, 501, 4)
    assert float((states.detach().norm(dim=2) - 1).abs().max()) < 1e-6


def test_the_code_of_a_trajectory_is_its_states_and_depends_on_its_first_frame_alone():
    torch.manual_seed(0)
    model = Rotations((3, 2, 5), **SMALL)
    batch = trajectories(model)
    code = model.codes(batch)["latent"].mean
    x = batch.x.clone()
    x[:, 1:] = 0
    torch.testing.assert_close(
        model.codes(Batch(x, batch.groups, batch.given))["latent"].mean, code
    )
    decoded = model.decode(latent=code)
    torch.testing.assert_close(decoded, model.rollout(batch.x[:, 0], batch.given["action"]))


def test_the_order_of_commuting_actions_makes_no_difference_to_a_rollout():
    model = Rotations((3, 7), **SMALL)
    with torch.no_grad():
        model.transition.table.zero_()
        for action, (plane, angle) in enumerate([(0, 1.0), (0, -1.0), (5, 0.7), (5, -0.7)]):
            model.transition.table[action, plane] = angle
    x = torch.rand(4, 7)
    actions = torch.randint(4, (4, 50))
    last = model.rollout(x, actions)[:, -1]
    torch.testing.assert_close(
        model.rollout(x, actions.sort(1).values)[:, -1], last, rtol=0, atol=1e-4
    )


def test_a_matrix_of_each_action_is_a_linear_map():
    torch.manual_seed(0)
    model = Rotations((3, 7), transition="matrix", **SMALL)
    states, actions = torch.randn(5, 4), torch.randint(4, (5, 2))
    expected = states
    for time in range(2):
        expected = torch.einsum("nij,nj->ni", model.matrices()[actions[:, time]], expected)
    torch.testing.assert_close(model.path(states, actions)[:, 2], expected)


# Plans


def turning_model():
    """A model whose actions turn planes by fifths and sevenths."""
    model = Rotations((3, 7), **SMALL)
    with torch.no_grad():
        model.transition.table.zero_()
        for action, (plane, part) in enumerate([(1, 5), (1, -5), (4, 7), (4, -7)]):
            model.transition.table[action, plane] = 2 * math.pi / part
    return model


def test_a_plan_is_the_shortest_sequence_that_reaches_the_goal():
    model = turning_model()
    start = model.encode(torch.rand(1, 7)).detach()
    matrices = model.matrices()
    for first, second in [(0, 0), (2, 0), (4, 1), (3, 5), (1, 3)]:
        power = torch.linalg.matrix_power
        goal = start @ (power(matrices[0], first) @ power(matrices[2], second)).T
        found = plan(matrices, start, goal, most_steps=6, tolerance=0.01)
        (actions,) = found.actions
        assert float(found.distances[0]) < 0.01
        assert len(actions) == min(first, 5 - first) + min(second, 7 - second)
        moved = model.path(start, torch.tensor([actions], dtype=torch.int64))[:, -1]
        torch.testing.assert_close(moved, goal, rtol=0, atol=1e-5)


def test_a_plan_reports_how_far_it_ends_from_a_goal_out_of_reach():
    model = turning_model()
    x = torch.rand(2, 7, generator=torch.Generator().manual_seed(3))
    found = model.plan(x[:1], x[1:], most_steps=0)
    start, goal = model.encode(x).detach()
    assert found.actions == [[]]
    torch.testing.assert_close(found.distances, (start - goal).norm()[None])


def test_a_plan_needs_actions_that_commute():
    torch.manual_seed(0)
    model = Rotations((3, 7), **SMALL)
    with pytest.raises(InputError, match="commute"):
        model.plan(torch.rand(1, 7), torch.rand(1, 7))
    with pytest.raises(InputError, match="most_steps=100"):
        turning_model().plan(torch.rand(1, 7), torch.rand(1, 7), most_steps=100)


# The structure


def test_the_structure_has_planes_angles_and_periods():
    model = turning_model()
    found = model.structure()
    assert found.planes == [(0, 2), (1, 3)]
    assert found.plane == [(0, 2), (0, 2), (1, 3), (1, 3)]
    assert found.turns == pytest.approx([0.2, -0.2, 1 / 7, -1 / 7])
    assert found.periods == [5, 5, 7, 7]
    assert found.entanglement == 0


def test_angles_and_matrices_are_those_of_the_given_actions():
    model = turning_model()
    torch.testing.assert_close(model.angles([3, 0]), model.angles()[[3, 0]])
    torch.testing.assert_close(model.matrices([3, 0]), model.matrices()[[3, 0]])
    assert model.structure([2]).periods == [7]


def test_an_angle_beyond_half_a_turn_is_the_same_as_its_remainder():
    angles = torch.tensor([[2 * math.pi * 1.2], [2 * math.pi * 0.8]])
    found = structure(angles, rotation_matrices(angles, 2))
    assert found.turns == pytest.approx([0.2, -0.2], abs=1e-6)


def test_an_action_without_a_period_has_none():
    angles = torch.tensor([[1.0]])
    assert structure(angles, rotation_matrices(angles, 2), most=5).periods == [None]


# Errors


def test_the_shape_is_that_of_a_trajectory():
    for shape in ((25,), (1, 25)):
        with pytest.raises(InputError, match="shape"):
            Rotations(shape)
    model = Rotations((3, 7), **SMALL)
    action = torch.zeros(2, 0, dtype=torch.int64)
    with pytest.raises(InputError, match="two frames"):
        model(Batch(torch.rand(2, 1, 7), Groups.of([0, 1]), {"action": action}))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"latent_dim": 1}, "latent_dim"),
        ({"actions": 0}, "actions"),
        ({"transition": "spiral"}, "transition"),
        ({"continuous": 1}, "continuous"),
        ({"width": 0}, "width"),
        ({"entanglement_weight": -1}, "entanglement_weight"),
    ],
)
def test_an_option_out_of_range_is_refused_by_its_name(options, name):
    with pytest.raises(InputError, match=name):
        Rotations((3, 7), **options)


@pytest.mark.parametrize(
    "action",
    [
        torch.zeros(6, 3, dtype=torch.int64),
        torch.zeros(6, 2),
        torch.zeros(6, dtype=torch.int64),
        torch.zeros(6, 2, 4),
    ],
)
def test_actions_of_another_shape_or_type_are_refused(action):
    model = Rotations((3, 7), **SMALL)
    batch = trajectories(model)
    with pytest.raises(InputError, match="action"):
        model(Batch(batch.x, batch.groups, {"action": action}))
    with pytest.raises(InputError, match="action"):
        model(Batch(batch.x, batch.groups))


def test_an_unknown_action_is_refused():
    model = Rotations((3, 7), actions=2, **SMALL)
    with pytest.raises(InputError, match=r"\[0, 2\)"):
        model.rollout(torch.rand(1, 7), [[0, 2]])
    with pytest.raises(InputError, match=r"\[0, 2\)"):
        model.check_given({"action": torch.tensor([[0, -1]])})
    for wrong in (-1, 2):
        batch = Batch(torch.rand(1, 3, 7), Groups.of([0]), {"action": torch.tensor([[0, wrong]])})
        for method in (model, model.codes):
            with pytest.raises(InputError, match=r"\[0, 2\)"):
                method(batch)
        with pytest.raises(InputError, match=r"\[0, 2\)"):
            model.angles([wrong])


@pytest.mark.parametrize(
    "actions",
    [
        [[0, 1], [1, 0]],
        np.array([[0, 1], [1, 0]], np.uint16),
        np.array([[0, 1], [1, 0]], ">i8"),
        np.array([[1, 0], [0, 1]])[::-1],
        [torch.tensor([0, 1]), torch.tensor([1, 0])],
        pd.DataFrame([[0, 1], [1, 0]]),
    ],
)
def test_actions_of_every_library_are_the_same(actions):
    torch.manual_seed(0)
    model, x = Rotations((3, 7), actions=2, **SMALL), torch.rand(2, 7)
    expected = model.rollout(x, torch.tensor([[0, 1], [1, 0]]))
    torch.testing.assert_close(model.rollout(x, actions), expected)


@pytest.mark.parametrize("actions", [None, "left", [["a"]], [[0], [0, 1]], [[10**30]] * 2, {}])
def test_actions_that_are_no_numbers_of_one_shape_are_refused(actions):
    with pytest.raises(InputError, match="actions must be integers"):
        Rotations((3, 7), actions=2, **SMALL).rollout(torch.rand(2, 7), actions)


def test_continuous_actions_are_finite_real_numbers():
    model = Rotations((3, 7), actions=1, continuous=True, **SMALL)
    for actions in (torch.full((2, 3, 1), torch.nan), torch.zeros(2, 3, 1, dtype=torch.complex64)):
        with pytest.raises(InputError, match="actions"):
            model.rollout(torch.rand(2, 7), actions)
        with pytest.raises(InputError, match="actions"):
            model.check_given({"action": actions})


def test_listed_actions_of_another_form_are_refused():
    for actions in (0, "a", [[0]], [0.5], [9]):
        with pytest.raises(InputError, match="actions"):
            Rotations((3, 7), **SMALL).angles(actions)
    continuous = Rotations((3, 7), actions=2, continuous=True, **SMALL)
    assert continuous.angles([[1, 0]]).shape[0] == 1
    for actions in (3.0, "a", [1.0, 0.0], [[1.0, 0.0, 0.0]]):
        with pytest.raises(InputError, match="actions"):
            continuous.angles(actions)


def test_frames_of_a_plan_and_of_a_content_come_in_equal_numbers():
    model, x = Rotations((3, 7), actions=1, latent_dim=2, **SMALL), torch.rand(3, 7)
    assert model.plan(x[:0], x[:0]).actions == []
    with pytest.raises(InputError, match=r"goal .*3 frames x, not 2"):
        model.plan(x, x[:2])
    with pytest.raises(InputError, match="continuous"):
        Rotations((3, 7), continuous=True, **SMALL).plan(x, x)
    shared = Rotations((3, 7), content_dim=2, **SMALL)
    actions = torch.zeros(3, 2, dtype=torch.int64)
    for trajectories in (torch.rand(2, 4, 7), torch.rand(7), torch.rand(3, 0, 7)):
        with pytest.raises(InputError, match=r"content_of|trajectories"):
            shared.rollout(x, actions, content_of=trajectories)


def test_other_transitions_have_no_angles():
    model = Rotations((3, 7), transition="network", **SMALL)
    for method in (model.angles, model.matrices):
        with pytest.raises(InputError, match="transition"):
            method()
    with pytest.raises(InputError, match="transition"):
        Rotations((3, 7), transition="matrix", **SMALL).angles()
    continuous = Rotations((3, 7), continuous=True, **SMALL)
    with pytest.raises(InputError, match="actions"):
        continuous.angles()


def test_a_likelihood_of_real_numbers_is_used_frame_by_frame():
    torch.manual_seed(0)
    model = Rotations((3, 7), likelihood=Gaussian(0.5), **SMALL)
    x = torch.randn(2, 3, 7)
    states = model.path(model.encode(x[:, 0]), torch.zeros(2, 2, dtype=torch.int64))
    one = model.likelihood.log_prob(model.decoder(states[:, 1]), x[:, 1])
    torch.testing.assert_close(model.log_prob(x, states)[:, 1], one)


# Content


def with_content(**options):
    torch.manual_seed(0)
    return Rotations((4, 7), content_dim=3, **options, **SMALL)


def test_the_content_is_the_product_of_the_evidence_of_all_frames_and_the_prior():
    model = with_content().eval()
    x = torch.rand(2, 4, 7)
    content = model.infer_content(x)
    (each,) = model.content.encoder(x.flatten(0, 1))
    precision = each.variance.reciprocal().unflatten(0, (2, 4))
    total = 1 + precision.sum(1)
    mean = (precision * each.mean.unflatten(0, (2, 4))).sum(1) / total
    torch.testing.assert_close(content.variance, total.reciprocal())
    torch.testing.assert_close(content.mean, mean)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(model.infer_content(x[:, order]).mean, content.mean)


def test_the_frames_of_the_content_are_drawn_as_random_subsets_of_groups():
    sizes, index = torch.full((50,), 4), torch.arange(50).repeat_interleave(4)
    first, second = (torch.Generator().manual_seed(1) for _ in range(2))
    expected = Groups(index).random_subset(generator=first)
    assert torch.equal(random_frames(sizes, 4, second).flatten(), expected)


def test_a_share_of_a_batch_has_the_loss_terms_of_its_rows_in_the_whole_batch():
    model = with_content()
    batch = trajectories(model)
    groups = Groups.of([0] * len(batch))  # fewer groups than trajectories
    whole = model(replace(batch, groups=groups), generator=torch.Generator().manual_seed(3))
    rows = torch.tensor([4, 1])
    share = ShareGenerator(torch.Generator().manual_seed(3), rows, len(batch))
    given = {"action": batch.given["action"][rows]}
    own = model(Batch(batch.x[rows], Groups.of([0, 0]), given), generator=share)
    for name, values in own.per_observation.items():
        torch.testing.assert_close(values, whole.per_observation[name][rows])


def test_actions_change_the_state_and_keep_the_content():
    model = with_content().eval()
    states = model.encode(torch.rand(2, 7))
    path = model.path(states, torch.randint(4, (2, 5))).detach()
    assert path.shape == (2, 6, 7)
    assert (path[:, :, 4:] == path[:, :1, 4:]).all()
    assert float((path[:, 1:, :4] - path[:, :1, :4]).abs().amax(2).min()) > 1e-3


def test_a_swap_decodes_the_states_of_one_trajectory_with_the_content_of_another():
    model = with_content().eval()
    batch = trajectories(model)
    codes = model.codes(batch)
    assert codes.keys() == {"content", "style"}
    other = batch.x.flip(0)
    swapped = model.rollout(batch.x[:, 0], batch.given["action"], content_of=other)
    content = codes["content"].mean.flip(0)
    torch.testing.assert_close(swapped, model.decode(content=content, style=codes["style"]))


def test_the_loss_has_the_kl_of_the_content_with_its_weight():
    torch.manual_seed(0)
    model = with_content(content_kl_weight=0.0).eval()
    batch = trajectories(model)
    losses = []
    for weight in (0.0, 2.0):
        model.options = model.Options(**{**vars(model.options), "content_kl_weight": weight})
        objective = model(batch, generator=torch.Generator().manual_seed(0))
        losses.append(objective.loss)
    expected = 2 * objective.per_observation["content_kl"].mean() / (3 * 7)
    torch.testing.assert_close(losses[1] - losses[0], expected)


def test_a_model_without_content_has_none_to_infer():
    with pytest.raises(InputError, match="content_dim"):
        Rotations((4, 7), **SMALL).infer_content(torch.rand(2, 4, 7))
