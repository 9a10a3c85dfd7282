"""The segment maximum by comparison against the scatter of Groups.max."""

import pytest
import torch

from mlvae import Groups
from mlvae.kernels import segment


@pytest.mark.parametrize("shape", [(), (4,), (4, 3)])
def test_it_equals_the_formula_in_values_gradients_and_second_gradients(shape):
    index = torch.arange(53) % 7
    groups = Groups(index[torch.randperm(53)])
    values = torch.randn(53, *shape, dtype=torch.float64, requires_grad=True)
    results = []
    for largest in (segment.largest(values, groups.index, 7), groups.max(values)):
        loss = largest.pow(3).sum()
        (first,) = torch.autograd.grad(loss, values, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), values)
        results.append([largest, first, second])
    for fast, formula in zip(*results, strict=True):
        assert torch.equal(fast, formula) and fast.any()


def test_a_group_without_members_has_minus_infinity():
    groups = Groups.unchecked(torch.tensor([0, 0]), torch.tensor([2, 0]))
    values = torch.tensor([1.0, 2.0])
    assert segment.largest(values, groups.index, 2).tolist() == [2, -torch.inf]
    assert groups.max(values).tolist() == [2, -torch.inf]


def test_it_is_for_cuda_devices():
    assert not segment.worthwhile(torch.zeros(10), 2)
