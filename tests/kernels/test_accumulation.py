"""Evidence added up by one operation is evidence added up."""

import pytest
import torch

from mlvae import Groups
from mlvae.accumulation import product
from mlvae.gaussian import DiagonalGaussian
from mlvae.kernels.accumulation import accumulated, worthwhile


def test_it_is_the_product_of_the_members_and_so_is_its_gradient():
    torch.manual_seed(0)
    labels = torch.randint(5, (40,))
    groups = Groups.of(labels)
    parameters = torch.randn(2, 40, 3, dtype=torch.float64).mul(20).requires_grad_()
    along = torch.randn(2, groups.num_groups, 3)
    expected = product(DiagonalGaussian(*parameters), groups)
    found = accumulated(parameters[1], parameters[0], groups.index, groups.num_groups)
    torch.testing.assert_close(found, (expected.log_variance, expected.mean))
    gradients = [
        torch.autograd.grad((values * along).sum(), parameters)[0]
        for values in (
            torch.stack(found).flip(0),
            torch.stack((expected.mean, expected.log_variance)),
        )
    ]
    torch.testing.assert_close(*gradients)


def test_the_gradient_is_that_of_the_value():
    index = torch.tensor([0, 1, 0, 0, 1])
    values = [torch.randn(5, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda *v: accumulated(*v, index, 2), values)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of the check itself
def test_the_operation_keeps_to_what_it_declares():
    values = [torch.randn(5, 2, requires_grad=True) for _ in range(2)]
    torch.library.opcheck(accumulated, (*values, torch.tensor([0, 1, 0, 0, 1]), 2))


def test_it_is_for_cuda_devices():
    assert not worthwhile(torch.zeros(10, 3), 2)
    assert not worthwhile(torch.empty(10, 3, device="meta"), 2)
