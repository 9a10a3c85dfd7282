"""Sums over ranks, with a stand-in for the process group."""

import pytest
import torch

from mlvae.groups.shares import sum_over_ranks


@pytest.fixture
def two_equal_ranks(monkeypatch):
    """An all-reduce over two ranks that hold equal tensors: it doubles them."""
    monkeypatch.setattr(
        "mlvae.groups.shares.distributed.all_reduce", lambda tensor: tensor.mul_(2)
    )


def test_first_and_second_gradients_of_a_sum_over_ranks_are_sums_over_ranks(two_equal_ranks):
    values = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    total = sum_over_ranks(values)
    assert total.tolist() == [1, -2, 4]
    (first,) = torch.autograd.grad(total.pow(3).sum(), values, create_graph=True)
    torch.testing.assert_close(first, 2 * 3 * total.square())
    # Both ranks differentiate the sum of their gradients.
    (second,) = torch.autograd.grad(first.sum(), values, create_graph=True)
    torch.testing.assert_close(second, 2 * 2 * 6 * total)
    (third,) = torch.autograd.grad(second.sum(), values)
    torch.testing.assert_close(third, torch.full_like(values, 2**3 * 6))


def test_the_values_are_not_overwritten(two_equal_ranks):
    values = torch.ones(2, 3).T
    assert sum_over_ranks(values).is_contiguous()
    assert values.eq(1).all()
