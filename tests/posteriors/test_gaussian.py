import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from mlvae import DiagonalGaussian, InputError


def random_gaussian(*shape, dtype=torch.float64):
    return DiagonalGaussian(torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype))


def reference(q):
    return Independent(Normal(q.mean, q.std), 1)


def test_density_and_divergences_agree_with_torch_distributions():
    p, q = random_gaussian(5, 3), random_gaussian(5, 3)
    value = torch.randn(5, 3, dtype=torch.float64)
    standard = DiagonalGaussian(torch.zeros_like(p.mean), torch.zeros_like(p.mean))
    torch.testing.assert_close(p.log_prob(value), reference(p).log_prob(value))
    torch.testing.assert_close(p.kl(q), kl_divergence(reference(p), reference(q)))
    torch.testing.assert_close(p.kl(), kl_divergence(reference(p), reference(standard)))


@pytest.mark.parametrize("to_standard", [True, False])
def test_kl_closed_form_agrees_with_monte_carlo(to_standard):
    p, q = random_gaussian(4), random_gaussian(4)
    z = p.sample((200_000,))
    standard = DiagonalGaussian(torch.zeros_like(p.mean), torch.zeros_like(p.mean))
    ratio = p.log_prob(z) - (standard if to_standard else q).log_prob(z)
    error = ratio.std() / math.sqrt(len(z))
    assert abs(p.kl(None if to_standard else q) - ratio.mean()) < 4 * error


def test_kl_to_itself_is_zero_and_otherwise_positive():
    p, q = random_gaussian(100, 3), random_gaussian(100, 3)
    torch.testing.assert_close(p.kl(p), torch.zeros(100, dtype=torch.float64))
    assert (p.kl(q) > 0).all() and (p.kl() > 0).all()


def test_kl_keeps_its_digits_near_the_prior():
    # 0.5 (e^l - 1 - l) = l^2 / 4 to first order: exp(l) - 1 has no correct digit in float32.
    small = torch.full((1,), 1e-4)
    kl = DiagonalGaussian(torch.zeros(1), small).kl()
    torch.testing.assert_close(kl, torch.tensor(1e-8 / 4), rtol=1e-3, atol=0)


def test_samples_have_the_moments_of_the_gaussian():
    q = random_gaussian(3)
    z = q.sample((400_000,))
    torch.testing.assert_close(z.mean(0), q.mean, rtol=0, atol=0.01)
    torch.testing.assert_close(z.var(0), q.variance, rtol=0.01, atol=0)


def test_samples_are_differentiable_and_repeat_with_their_generator():
    mean = torch.zeros(3, requires_grad=True)
    log_variance = torch.zeros(3, requires_grad=True)
    q = DiagonalGaussian(mean, log_variance)
    first = q.sample(generator=torch.Generator().manual_seed(1))
    second = q.sample(generator=torch.Generator().manual_seed(1))
    assert torch.equal(first, second)
    first.sum().backward()
    assert torch.equal(mean.grad, torch.ones(3))
    # d(mean + exp(l / 2) e) / dl = e / 2 at l = 0, and e is the sample itself
    torch.testing.assert_close(log_variance.grad, first.detach() / 2)


def test_half_precision_becomes_float32_and_float64_is_kept():
    assert random_gaussian(2, dtype=torch.bfloat16).mean.dtype == torch.float32
    assert random_gaussian(2, dtype=torch.float64).kl().dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_parameters_give_the_values_of_float32(dtype):
    mean, log_variance = torch.randn(4, 3).to(dtype), torch.randn(4, 3).to(dtype)
    half = DiagonalGaussian(mean, log_variance)
    full = DiagonalGaussian(mean.float(), log_variance.float())
    value = torch.randn(4, 3)
    for q in (half, full):
        assert q.mean.dtype == q.log_variance.dtype == q.variance.dtype == torch.float32
    assert torch.equal(half.log_variance, full.log_variance)
    assert torch.equal(half.variance, full.variance)
    assert torch.equal(half.kl(), full.kl())
    assert torch.equal(half.log_prob(value), full.log_prob(value))
    first, second = (q.sample(generator=torch.Generator().manual_seed(0)) for q in (half, full))
    assert first.dtype == torch.float32 and torch.equal(first, second)


def test_rows_can_be_chosen_and_repeated():
    q = random_gaussian(4, 2)
    assert len(q) == 4 and "(4, 2)" in repr(q)
    assert torch.equal(q[torch.tensor([1, 1, 3])].mean, q.mean[[1, 1, 3]])


def test_parameters_of_different_shapes_are_refused():
    with pytest.raises(InputError, match=r"\(2,\) and \(3,\)"):
        DiagonalGaussian(torch.zeros(2), torch.zeros(3))


@pytest.mark.parametrize(
    ("mean", "value"), [((4, 3), (4, 1)), ((4, 1), (4, 3)), ((1, 3), (4, 1)), ((3,), (4, 2))]
)
def test_a_value_of_another_number_of_dimensions_is_refused(mean, value):
    q = DiagonalGaussian(torch.zeros(mean), torch.zeros(mean))
    with pytest.raises(InputError, match=r"value .*\(.*\), not \(.*\)"):
        q.log_prob(torch.zeros(value))


def test_a_gaussian_is_its_own_moments():
    q = random_gaussian(3)
    assert q.moments() is q


def test_active_dimensions_have_a_mean_kl_above_the_bound():
    q = random_gaussian(6, 5)
    kl = torch.stack(
        [DiagonalGaussian(q.mean[:, [d]], q.log_variance[:, [d]]).kl().mean() for d in range(5)]
    )
    least = kl.median().item()
    assert torch.equal(q.active(least=least), kl > least)
    assert q.active(least=0).all() and q[0].active(least=0).shape == (5,)
    prior = DiagonalGaussian.prior(4, 3, like=q.mean)
    assert not prior.active(least=0).any()


def test_a_negative_bound_of_active_dimensions_is_refused():
    with pytest.raises(InputError, match=r"least .*-1"):
        random_gaussian(2, 2).active(least=-1)
