"""The contract of posterior families: every family obeys it, and a new one adds one case.

Shapes: N rows, D dimensions.
"""

import math
from dataclasses import dataclass

import pytest
import torch

from mlvae import DiagonalGaussian, Dirichlet, Groups, InputError, Point
from mlvae.posteriors import GroupMixture

N, D = 5, 3
LABELS = torch.tensor([2, 0, 1, 0, 2, 4, 3, 2, 4])  # groups of 2, 1, 3, 1 and 2 members


@dataclass(frozen=True)
class Head:
    """A family that the head of a network makes, one distribution for each row of outputs."""

    family: type

    def __call__(self, raw):
        return self.family.from_raw(raw)

    def raw(self, dim=D, rows=N):
        return torch.randn(rows, self.family.parameters_per_dim * dim, dtype=torch.float64)


@dataclass(frozen=True)
class Mixtures:
    """The mixtures of the members of groups."""

    family: type = GroupMixture

    def __call__(self, raw):
        return GroupMixture(DiagonalGaussian.from_raw(raw), Groups(LABELS))

    def raw(self, dim=D):
        return torch.randn(len(LABELS), 2 * dim, dtype=torch.float64)


HEADS = [Head(DiagonalGaussian), Head(Point), Head(Dirichlet)]
CASES = [*HEADS, Mixtures()]
RANDOM = [case for case in CASES if case.family.random]
#: Families whose dimensions are independent real numbers. The others have tests of their own.
LINES = [case for case in CASES if not case.family.simplex]
RANDOM_LINES = [case for case in LINES if case.family.random]


def each(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.family.__name__)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def one_dimension(case):
    """Distributions of one dimension, and the log-density of each on a grid (K,): (N, K)."""
    q = case(case.raw(dim=1))
    grid = torch.linspace(-40, 40, 200_001, dtype=torch.float64)
    if isinstance(q, GroupMixture):
        parts = torch.stack([q.components[i].log_prob(grid[:, None]) for i in range(len(LABELS))])
        masks = [torch.eq(LABELS, group) for group in range(len(q))]
        rows = [parts[mask].logsumexp(0) - math.log(mask.sum()) for mask in masks]
    else:
        rows = [q[[i]].log_prob(grid[:, None]) for i in range(len(q))]
    return q, grid, torch.stack(rows)


# Every family


@each(CASES)
def test_a_family_has_one_distribution_for_each_row(case):
    q = case(case.raw())
    assert len(q) == N and q.mean.shape == (N, D) and q.mean.dtype == torch.float64
    assert isinstance(case.family.random, bool) and isinstance(case.family.simplex, bool)
    if case.family.simplex:
        torch.testing.assert_close(q.mean.sum(1), torch.ones(N).double())
    assert f"{case.family.__name__}(shape=({N}, {D})" in repr(q)


@each(CASES)
@pytest.mark.parametrize(
    "rows",
    [
        torch.tensor([4, 0, 0]),
        slice(1, 4),
        torch.tensor([True, False, False, True, False]),
        [2, 1],
    ],
    ids=["indices", "slice", "mask", "list"],
)
def test_rows_are_selected_and_repeated(case, rows):
    q = case(case.raw())
    some = q[rows]
    torch.testing.assert_close(some.mean, q.mean[rows])
    moments = q.moments()
    torch.testing.assert_close(some.moments().variance, moments.variance[rows])
    assert len(some) == len(moments.mean[rows])


@each(CASES)
def test_the_moments_are_a_gaussian_of_the_same_mean(case):
    q = case(case.raw())
    moments = q.moments()
    assert isinstance(moments, DiagonalGaussian) and moments.variance.shape == (N, D)
    torch.testing.assert_close(moments.mean, q.mean)
    assert (moments.variance > 0).all()


@each(CASES)
def test_samples_of_groups_and_of_members_have_their_shapes(case):
    q = case(case.raw())
    assert q.sample_groups(generator=seeded()).shape == (N, D)
    members = q.sample_members(Groups(LABELS), generator=seeded())
    assert members.shape == (len(LABELS), D)
    if not case.family.random:
        assert torch.equal(members, q.mean[LABELS])
        assert torch.equal(q.sample_groups(), q.mean)


@each(CASES)
def test_samples_depend_on_the_generator_alone(case):
    q = case(case.raw())
    draws = [
        (q.sample_groups(generator=g), q.sample_members(Groups(LABELS), generator=g))
        for g in (seeded(0), seeded(0), seeded(1))
    ]
    for first, again, other in zip(*draws, strict=True):
        assert torch.equal(first, again)
        assert torch.equal(first, other) != case.family.random


@each(CASES)
@pytest.mark.parametrize("draw", ["sample_groups", "sample_members"])
def test_samples_are_differentiable_in_every_output_of_the_head(case, draw):
    raw = case.raw().requires_grad_()
    arguments = () if draw == "sample_groups" else (Groups(LABELS),)
    total = torch.zeros((), dtype=torch.float64)
    for seed in range(20):  # a sample of a mixture uses one of the members
        total = total + getattr(case(raw), draw)(*arguments, generator=seeded(seed)).square().sum()
    total.backward()
    assert raw.grad.isfinite().all() and raw.grad.all()


@each(RANDOM)
def test_the_mean_and_the_variance_are_those_of_samples(case):
    q = case(case.raw())
    generator = seeded()
    draws = torch.stack([q.sample_groups(generator=generator) for _ in range(6000)])
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - q.mean).abs() < 4.5 * error).all()
    torch.testing.assert_close(draws.var(0), q.moments().variance, rtol=0.2, atol=0)


@each(RANDOM)
def test_the_samples_of_members_have_the_distribution_of_their_group(case):
    q = case(case.raw())
    generator, groups = seeded(), Groups(LABELS)
    draws = torch.stack([q.sample_members(groups, generator=generator) for _ in range(6000)])
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - q.mean[LABELS]).abs() < 4.5 * error).all()
    torch.testing.assert_close(draws.var(0), q.moments().variance[LABELS], rtol=0.2, atol=0)


@each(RANDOM_LINES)
def test_the_moments_agree_with_quadrature(case):
    q, grid, log_q = one_dimension(case)
    mean = torch.trapezoid(log_q.exp() * grid, grid)
    variance = torch.trapezoid(log_q.exp() * (grid - mean[:, None]).square(), grid)
    torch.testing.assert_close(q.mean[:, 0], mean)
    torch.testing.assert_close(q.moments().variance[:, 0], variance)


@each(RANDOM_LINES)
def test_the_kl_is_at_least_that_of_quadrature_and_not_negative(case):
    q, grid, log_q = one_dimension(case)
    log_p = DiagonalGaussian.prior(1, 1, like=grid).log_prob(grid[:, None])
    exact = torch.trapezoid(log_q.exp() * (log_q - log_p), grid)
    if case.family is GroupMixture:  # its KL is an upper bound, exact for a group of one
        assert (q.kl() >= exact - 1e-9).all()
        assert (q.kl() <= exact + Groups(LABELS).sizes.log() + 1e-9).all()
        single = Groups(LABELS).sizes == 1
        torch.testing.assert_close(q.kl()[single], exact[single])
    else:
        torch.testing.assert_close(q.kl(), exact)
    assert (case(case.raw()).kl() >= 0).all()


@each(RANDOM)
def test_the_kl_has_a_gradient_and_is_not_negative(case):
    raw = case.raw().requires_grad_()
    kl = case(raw).kl()
    assert (kl >= 0).all()
    kl.sum().backward()
    assert raw.grad.isfinite().all() and raw.grad.all()


@each(RANDOM_LINES)
def test_the_kl_is_zero_at_the_prior_and_has_a_gradient_elsewhere(case):
    assert torch.equal(case(torch.zeros_like(case.raw())).kl(), torch.zeros(N).double())
    raw = case.raw().requires_grad_()
    case(raw).kl().sum().backward()
    assert raw.grad.isfinite().all() and raw.grad.all()


# Families of heads


@each(HEADS)
def test_the_head_has_the_stated_number_of_outputs(case):
    """A column of outputs changes the one dimension that it belongs to; of shares, all."""
    raw = case.raw()
    q = case(raw)
    assert raw.shape[1] == case.family.parameters_per_dim * D
    for column in range(raw.shape[1]):
        changed = raw.clone()
        changed[:, column] += 1
        other = case(changed)
        differs = (other.mean != q.mean) | (other.moments().variance != q.moments().variance)
        own = [case.family.simplex or d == column % D for d in range(D)]
        assert differs.all(0).tolist() == own


@each(HEADS)
def test_the_rows_of_parts_are_joined(case):
    q = case(case.raw())
    joined = case.family.cat([q[:2], q[2:2], q[2:]])
    assert type(joined) is case.family
    torch.testing.assert_close(joined.mean, q.mean, rtol=0, atol=0)
    torch.testing.assert_close(joined.moments().variance, q.moments().variance, rtol=0, atol=0)


@each(HEADS)
def test_the_dtype_and_the_device_change_and_the_numbers_stay(case):
    q = case(case.raw())
    single = q.to(torch.float32)
    assert type(single) is case.family and single.mean.dtype == torch.float32
    rounding = 1e-6 if case.family.simplex else 0  # the mean is computed in another precision
    torch.testing.assert_close(single.mean, q.mean.float(), rtol=rounding, atol=0)
    assert single.moments().variance.dtype == torch.float32
    assert q.to("meta").mean.device.type == "meta" and q.mean.device.type == "cpu"


@each(HEADS)
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_samples_have_leading_axes_of_repetitions(case, shape):
    q = case(case.raw())
    assert q.sample(shape, generator=seeded()).shape == (*shape, N, D)


RANDOM_HEADS = [case for case in HEADS if case.family.random]
RANDOM_LINE_HEADS = [case for case in RANDOM_HEADS if not case.family.simplex]


@each(RANDOM_LINE_HEADS)
def test_the_density_integrates_to_one(case):
    _, grid, log_q = one_dimension(case)
    torch.testing.assert_close(torch.trapezoid(log_q.exp(), grid), torch.ones(N).double())


@each(RANDOM_LINE_HEADS)
def test_the_density_of_several_dimensions_is_the_product_of_their_densities(case):
    raw = case.raw()
    value = torch.randn(N, D, dtype=torch.float64)
    columns = [raw[:, d::D] for d in range(D)]
    total = sum(case(c).log_prob(value[:, [d]]) for d, c in enumerate(columns))
    torch.testing.assert_close(case(raw).log_prob(value), total)
    torch.testing.assert_close(case(raw).kl(), sum(case(c).kl() for c in columns))


@each(RANDOM_HEADS)
def test_the_prior_has_a_kl_of_zero_and_the_type_of_its_argument(case):
    prior = case(case.raw(dim=2)).prior_rows(4)
    assert type(prior) is case.family and prior.mean.shape == (4, 2)
    assert prior.mean.dtype == torch.float64
    assert torch.equal(prior.kl(), torch.zeros(4).double())
    assert case(case.raw(dim=2)).prior_rows(0).sample().shape == (0, 2)


@each(RANDOM_HEADS)
def test_the_kl_is_the_mean_log_ratio_of_samples(case):
    q = case(case.raw())
    prior = q.prior_rows(N)
    z = q.sample((20_000,), generator=seeded())
    ratio = q.log_prob(z) - prior.log_prob(z)
    error = ratio.std(0) / math.sqrt(len(z))
    assert ((ratio.mean(0) - q.kl()).abs() < 4.5 * error).all()


@each(RANDOM_HEADS)
def test_a_weighted_sample_has_the_ratio_of_the_densities(case):
    q = case(case.raw())
    z, log_weight = q.weighted_sample(seeded())
    prior = q.prior_rows(N)
    assert z.shape == (N, D) and log_weight.shape == (N,)
    torch.testing.assert_close(log_weight, prior.log_prob(z) - q.log_prob(z))


# Points


def test_the_moments_of_points_have_a_variance_of_one():
    mean = torch.randn(4, 3)
    moments = Point(mean).moments()
    assert torch.equal(moments.mean, mean)
    assert torch.equal(moments.variance, torch.ones(4, 3))


def test_a_point_has_no_density():
    q = Point(torch.randn(N, D))
    for call in (
        q.kl,
        lambda: q.log_prob(q.mean),
        lambda: q.prior_rows(N),
        q.weighted_sample,
    ):
        with pytest.raises(InputError, match="point"):
            call()
