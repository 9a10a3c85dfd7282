"""The Triton kernels in Triton's interpreter, which needs no device.

test_triton.py runs this file. The interpreter has no bfloat16; float32 uses the same kernels.
"""

import pytest
import torch

from mlvae.kernels import accumulation_triton, dense_triton
from mlvae.kernels.accumulation import accumulated

SLOPES = {
    "none": torch.ones_like,
    "tanh": lambda y: 1 - y * y,
    "relu": lambda y: (y > 0).float(),
}


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """A device with the 132 multiprocessors of an H100."""
    monkeypatch.setattr(dense_triton, "_multiprocessors", lambda device: 132)


@pytest.mark.parametrize("activation", SLOPES)
@pytest.mark.parametrize(("n", "i", "o"), [(50, 37, 45), (1, 3, 2), (70, 130, 20)])
def test_a_layer_and_its_gradients_equal_the_formulas(n, i, o, activation):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(n, i).tanh(), 0.1 * torch.randn(o, i), torch.randn(o)
    gradient = torch.randn(n, o)
    z = x @ weight.T + bias
    y = {"none": z, "tanh": z.tanh(), "relu": z.relu()}[activation]
    torch.testing.assert_close(dense_triton.outputs(x, weight, bias, activation), y)
    for needs_x in (True, False):
        results = dense_triton.gradients(gradient, x, weight, needs_x, activation)
        x_gradient = (gradient @ weight) * SLOPES[activation](x) if needs_x else torch.empty(0)
        expected = (x_gradient, gradient.T @ x, gradient.sum(0))
        torch.testing.assert_close(results, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("rows", "columns"), [(256, 500), (10_000, 1568), (40, 500), (3, 2)])
def test_the_tile_is_the_largest_that_occupies_most_multiprocessors(rows, columns):
    tile = dense_triton._tile(rows, columns, torch.device("cpu"))
    assert tile in dense_triton.TILES
    enough = dense_triton._count(rows, columns, tile) >= 0.7 * 132
    assert enough or tile == dense_triton.TILES[-1]


@pytest.mark.parametrize(("n", "num_groups", "dims"), [(300, 5, 3), (7, 3, 2), (600, 1, 2)])
def test_accumulated_evidence_equals_the_formula_for_strided_arrays(n, num_groups, dims):
    torch.manual_seed(0)
    mean, log_variance = (torch.randn(n, 2 * dims) * 20).chunk(2, 1)
    index = torch.randint(num_groups, (n,))
    results = accumulation_triton.accumulated(log_variance, mean, index, num_groups + 1)
    expected = accumulated(
        log_variance, mean, index, num_groups + 1
    )  # the last group has no members
    torch.testing.assert_close(results, expected, rtol=1e-5, atol=1e-5)
    assert not any(values[-1].any() for values in results)
