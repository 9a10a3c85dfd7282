"""A linear layer as an operation of its own, and how it takes the place of others."""

import pytest
import torch
from torch import nn

from mlvae.kernels.dense import ACTIVATIONS, _gradients, _outputs, _worthwhile, dense
from mlvae.kernels.layers import with_dense_layers

FUNCTIONS = {"none": lambda z: z, "tanh": torch.tanh, "relu": torch.relu}


def leaves(*shapes, dtype=torch.float32):
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_it_is_the_layer_and_so_is_its_gradient(activation, dtype):
    half = dtype == torch.bfloat16
    x, weight, bias = leaves((30, 7), (5, 7), (5,), dtype=torch.float32 if half else dtype)
    y = dense(x, weight, bias, activation, half=half)
    expected = FUNCTIONS[activation](nn.functional.linear(x, weight, bias))
    rounding = 0.02 if half else 1e-6
    assert y.dtype == dtype
    assert (y - expected).norm() <= rounding * expected.norm()
    along = torch.randn(y.shape).to(dtype)
    found = torch.autograd.grad(y, (x, weight, bias), along)
    wanted = torch.autograd.grad(expected, (x, weight, bias), along.to(x.dtype))
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == x.dtype
        assert (mine - theirs).norm() <= rounding * theirs.norm()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_second_derivative_is_refused(activation):
    x, weight, bias = leaves((6, 4), (3, 4), (3,))
    y = dense(x, weight, bias, activation)
    with pytest.raises(RuntimeError, match="create_graph=True"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
    (gradient,) = torch.autograd.grad(y.sum(), x)  # the first derivative is still available
    assert gradient.shape == x.shape


@pytest.mark.parametrize("transposed", [False, True])
def test_its_operations_keep_to_what_they_declare(transposed):
    x, weight, bias = (leaf.detach().bfloat16() for leaf in leaves((6, 4), (3, 4), (3,)))
    gradient = torch.randn(6, 3).bfloat16()
    if transposed:
        x, weight, gradient = (each.T.contiguous().T for each in (x, weight, gradient))
    torch.library.opcheck(_outputs, (x, weight, bias, "tanh"))
    for needs_x in (True, False):
        torch.library.opcheck(_gradients, (gradient, x, weight, needs_x, "tanh"))


@pytest.mark.parametrize(
    ("layer", "ours"),
    [
        ((256, 784, 500), True),  # of the author's recipe
        ((10_000, 784, 500), True),  # rows that are not aligned
        ((10_000, 784, 512), False),
        ((256, 4096, 4096), False),
        ((2_000_000, 784, 1500), False),  # more places than 32 bits count
    ],
)
def test_large_layers_are_left_to_the_library_where_it_is_faster(layer, ours, monkeypatch):
    n, i, o = layer
    x, weight = (torch.empty(*s, dtype=torch.bfloat16, device="meta") for s in ((n, i), (o, i)))
    assert not _worthwhile(x, weight, most=2**31)
    monkeypatch.setattr("mlvae.kernels.dense.TRITON_DEVICES", ("meta",))
    assert _worthwhile(x, weight, most=2**31) is ours


class Net(nn.Module):
    """Two layers of one, the first of which is used twice if ``again``."""

    def __init__(self, activation, again=False):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)
        self.activation, self.again = activation, again

    def forward(self, x):
        features = self.activation(self.first(x))
        y = self.second(features)
        return y + features[:, :4] if self.again else y


def layers_of(net, x):
    """The layers that were put in place, and outputs and gradients beside those of autocast."""
    found = []

    def backend(graph, inputs):
        with_dense_layers(graph, half=True)
        found.extend(node.args[3:6] for node in graph.graph.nodes if node.target is dense)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    torch._dynamo.reset()
    results = []
    for run in (torch.compile(net, backend=backend, fullgraph=True), net):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            y = run(x)
        y.float().square().sum().backward()
        results.append([y.float(), *(p.grad.clone() for p in net.parameters())])
    return found, *results


@pytest.mark.parametrize(
    ("activation", "again", "expected"),
    [
        (nn.Tanh(), False, [("tanh", "none", True), ("none", "tanh", False)]),
        (nn.ReLU(), False, [("relu", "none", True), ("none", "relu", False)]),
        # The slope of what is used elsewhere too is not the second layer's business.
        (nn.Tanh(), True, [("tanh", "none", False), ("none", "none", False)]),
        (nn.GELU(), False, [("none", "none", False), ("none", "none", False)]),
    ],
    ids=["tanh", "relu", "twice", "gelu"],
)
def test_layers_of_a_traced_model_are_found_with_what_follows_them(activation, again, expected):
    torch.manual_seed(0)
    found, mine, theirs = layers_of(Net(activation, again), torch.randn(20, 6))
    assert found == expected
    for a, b in zip(mine, theirs, strict=True):
        assert (a - b).norm() <= 0.02 * b.norm()


class Exact(Net):
    """The same in float32, whoever asks for less."""

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            return super().forward(x)


def test_a_model_that_asks_for_its_own_precision_gets_it():
    found, (mine, *_), (theirs, *_) = layers_of(Exact(nn.Tanh()), torch.randn(20, 6))
    assert found == []
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("bias", [True, False])
def test_layers_without_bias_or_of_more_axes_stay_as_they_are(bias):
    x = torch.randn(3, 5, 6) if bias else torch.randn(5, 6)
    found, _, _ = layers_of(nn.Linear(6, 2, bias=bias), x)
    assert found == []
