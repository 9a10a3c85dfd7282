"""The written-out gradient of the learned Gaussian against its formula."""

import pytest
import torch

from mlvae.kernels import likelihood as kernel
from mlvae.likelihoods import LearnedGaussian

INTERVALS = [(-1.0, 1.0), (-3.0, 0.5), (0.0, 2.0)]


def formula(parameters, x, low, high):
    """The log-density (N,), as the docstring of LearnedGaussian has it."""
    mean, raw = parameters.unbind(1)
    log_variance = (low + high) / 2 + (high - low) / 2 * raw.tanh()
    density = torch.distributions.Normal(mean, (log_variance / 2).exp())
    return density.log_prob(x).flatten(1).sum(1)


def squared_norm(gradients):
    return torch.cat([gradient.flatten() for gradient in gradients]).square().sum()


def derivatives(log_prob, parameters, x, *limits):
    """Values, gradients, and second and third gradients of a non-linear function of them."""
    leaves = parameters.clone().requires_grad_(), x.clone().requires_grad_()
    values = log_prob(*leaves, *limits)
    weights = torch.linspace(-1, 2, len(x), dtype=x.dtype)
    first = torch.autograd.grad((values * weights).sum(), leaves, create_graph=True)
    penalty = squared_norm(first) * values.mean().sin()
    second = torch.autograd.grad(penalty, leaves, create_graph=True)
    third = torch.autograd.grad(squared_norm(second), leaves)
    return [values, *first, *second, *third]


@pytest.mark.parametrize("limits", INTERVALS)
def test_it_equals_the_formula_in_values_gradients_and_second_gradients(limits):
    parameters, x = torch.randn(4, 2, 3, 2).double(), torch.rand(4, 3, 2).double()
    x[0, 0, 0] = parameters[0, 0, 0, 0]  # an error of zero
    found = derivatives(kernel.learned_gaussian_log_prob, parameters, x, *limits)
    expected = derivatives(formula, parameters, x, *limits)
    torch.testing.assert_close(found, expected)


def test_without_create_graph_the_gradient_is_the_same():
    parameters, x = torch.randn(4, 2, 6).double().requires_grad_(), torch.rand(4, 6).double()
    values = kernel.learned_gaussian_log_prob(parameters, x, -1.0, 1.0)
    (fast,) = torch.autograd.grad(values.sum(), parameters, retain_graph=True)
    (differentiable,) = torch.autograd.grad(values.sum(), parameters, create_graph=True)
    assert not fast.requires_grad and differentiable.requires_grad
    torch.testing.assert_close(fast, differentiable)


def test_second_gradients_agree_with_finite_differences_and_torch_func():
    likelihood = LearnedGaussian(-3.0, 0.5)
    parameters, x = torch.randn(3, 2, 2).double(), torch.rand(3, 2).double()
    leaves = parameters.clone().requires_grad_(), x.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(likelihood.log_prob, leaves)

    def total(parameters):
        return likelihood.log_prob(parameters, x).sum()

    hessian = torch.autograd.functional.hessian(total, parameters)
    torch.testing.assert_close(hessian, torch.func.jacrev(torch.func.grad(total))(parameters))
    assert hessian.any()


def test_the_formula_runs_where_the_kernel_does_not_apply():
    parameters, x = torch.randn(3, 2, 2), torch.rand(3, 2)
    assert kernel.worthwhile(parameters, x)
    assert not kernel.worthwhile(parameters, x.double())
    applied = []
    torch.func.vmap(lambda p: applied.append(kernel.worthwhile(p, x)) or p)(parameters)
    assert applied == [False]
    likelihood = LearnedGaussian()
    mixed = likelihood.log_prob(parameters, x.double())
    torch.testing.assert_close(mixed, likelihood.log_prob(parameters.double(), x.double()))
