"""The noise of a share of a batch is a part of the noise of the whole batch."""

import pytest
import torch

from mlvae import DiagonalGaussian, InputError
from mlvae.noise import ShareGenerator, normal, per_group, uniform

DRAWS = [(normal, torch.randn), (uniform, torch.rand)]
PARTS = [torch.tensor([0, 3, 4]), torch.tensor([1]), torch.tensor([2, 5, 6])]


def seeded():
    return torch.Generator().manual_seed(5)


# Properties


@pytest.mark.parametrize(("draw", "reference"), DRAWS)
@pytest.mark.parametrize("axis", [0, 1])
def test_the_draws_of_the_shares_are_rows_of_the_draw_of_the_batch(draw, reference, axis):
    shape = (7, 2) if axis == 0 else (3, 7, 2)
    whole = reference(shape, generator=seeded())
    for rows in PARTS:
        share_shape = (*shape[:axis], len(rows), *shape[axis + 1 :])
        part = draw(share_shape, generator=ShareGenerator(seeded(), rows, 7), axis=axis)
        assert torch.equal(part, whole.index_select(axis, rows))


@pytest.mark.parametrize(("draw", "reference"), DRAWS)
def test_without_shares_a_draw_equals_that_of_torch(draw, reference):
    assert torch.equal(draw((4, 2), generator=seeded()), reference((4, 2), generator=seeded()))
    assert draw((2,), dtype=torch.float64).dtype == torch.float64


def test_all_shares_leave_the_generator_of_the_batch_in_the_same_state():
    generators = [seeded() for _ in PARTS]
    for whole, rows in zip(generators, PARTS, strict=True):
        normal((len(rows), 3), generator=ShareGenerator(whole, rows, 7))
    states = [generator.get_state() for generator in generators]
    assert all(torch.equal(state, states[0]) for state in states)


def test_a_gaussian_draws_the_rows_of_its_share_in_repeated_draws():
    mean, rows = torch.randn(7, 2), PARTS[0]
    whole = DiagonalGaussian(mean, mean).sample((3,), generator=seeded())
    part = DiagonalGaussian(mean, mean)[rows]
    part = part.sample((3,), generator=ShareGenerator(seeded(), rows, 7))
    assert torch.equal(part, whole[:, rows])


# Behaviour


def test_rows_of_groups_have_a_separate_generator():
    groups = ShareGenerator(seeded(), torch.tensor([1]), 2)
    share = ShareGenerator(seeded(), PARTS[0], 7, groups=groups)
    part = normal((1, 3), generator=per_group(share))
    assert torch.equal(part, torch.randn(2, 3, generator=seeded())[1:])
    assert per_group(None) is None
    assert per_group(whole := seeded()) is whole


def test_draws_by_torch_differ_between_shares_and_are_reproducible():
    def draw(own):
        return torch.randn(4, generator=ShareGenerator(seeded(), PARTS[1], 7, own=own))

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(0), draw(1))


# Bad input


def test_a_draw_with_another_number_of_rows_than_the_share_is_refused():
    with pytest.raises(InputError, match=r"3 .*2.*noise.per_group"):
        normal((2, 3), generator=ShareGenerator(seeded(), PARTS[0], 7))
