"""The fused linear layer, and the replacement of the layers of a traced model."""

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
def test_it_equals_the_formula_in_values_and_gradients(activation, dtype):
    half = dtype == torch.bfloat16
    x, weight, bias = leaves((30, 7), (5, 7), (5,), dtype=torch.float32 if half else dtype)
    y = dense(x, weight, bias, activation, half=half)
    expected = FUNCTIONS[activation](nn.functional.linear(x, weight, bias))
    rounding = 0.02 if half else 1e-6
    assert y.dtype == dtype
    assert (y - expected).norm() <= rounding * expected.norm()
    direction = torch.randn(y.shape).to(dtype)
    gradients = torch.autograd.grad(y, (x, weight, bias), direction)
    references = torch.autograd.grad(expected, (x, weight, bias), direction.to(x.dtype))
    for gradient, reference in zip(gradients, references, strict=True):
        assert gradient.dtype == x.dtype
        assert (gradient - reference).norm() <= rounding * reference.norm()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_second_derivative_is_refused(activation):
    x, weight, bias = leaves((6, 4), (3, 4), (3,))
    y = dense(x, weight, bias, activation)
    with pytest.raises(RuntimeError, match="create_graph=True"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
    (gradient,) = torch.autograd.grad(y.sum(), x)  # the first derivative is still available
    assert gradient.shape == x.shape


@pytest.mark.parametrize("transposed", [False, True])
def test_its_custom_operations_pass_opcheck(transposed):
    x, weight, bias = (leaf.detach().bfloat16() for leaf in leaves((6, 4), (3, 4), (3,)))
    gradient = torch.randn(6, 3).bfloat16()
    if transposed:
        x, weight, gradient = (a.T.contiguous().T for a in (x, weight, gradient))
    torch.library.opcheck(_outputs, (x, weight, bias, "tanh"))
    for needs_x in (True, False):
        torch.library.opcheck(_gradients, (gradient, x, weight, needs_x, "tanh"))


@pytest.mark.parametrize(
    ("layer", "triton"),
    [
        ((256, 784, 500), True),  # of the authors' recipe
        ((10_000, 784, 500), True),  # rows without alignment
        ((10_000, 784, 512), False),
        ((256, 4096, 4096), False),
        ((2_000_000, 784, 1500), False),  # offsets above 32 bits
    ],
)
def test_large_aligned_layers_use_the_products_of_pytorch(layer, triton, monkeypatch):
    n, i, o = layer
    x, weight = (torch.empty(*s, dtype=torch.bfloat16, device="meta") for s in ((n, i), (o, i)))
    assert not _worthwhile(x, weight, most=2**31)
    monkeypatch.setattr("mlvae.kernels.dense.TRITON_DEVICES", ("meta",))
    assert _worthwhile(x, weight, most=2**31) is triton


class Net(nn.Module):
    """Two layers; with ``reuse``, the output of the first is used twice."""

    def __init__(self, activation, reuse=False):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)
        self.activation, self.reuse = activation, reuse

    def forward(self, x):
        features = self.activation(self.first(x))
        y = self.second(features)
        return y + features[:, :4] if self.reuse else y


def layers_of(net, x):
    """The options of the replaced layers, and the results of the compiled and the eager model.

    Results are the output and the gradients of the parameters under autocast.
    """
    layers = []

    def backend(graph, inputs):
        with_dense_layers(graph, half=True)
        layers.extend(node.args[3:6] for node in graph.graph.nodes if node.target is dense)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    torch._dynamo.reset()
    results = []
    for run in (torch.compile(net, backend=backend, fullgraph=True), net):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            y = run(x)
        y.float().square().sum().backward()
        results.append([y.float(), *(p.grad.clone() for p in net.parameters())])
    return layers, *results


@pytest.mark.parametrize(
    ("activation", "reuse", "expected"),
    [
        (nn.Tanh(), False, [("tanh", "none", True), ("none", "tanh", False)]),
        (nn.ReLU(), False, [("relu", "none", True), ("none", "relu", False)]),
        # If the first output has a second use, the second layer cannot apply the slope.
        (nn.Tanh(), True, [("tanh", "none", False), ("none", "none", False)]),
        (nn.GELU(), False, [("none", "none", False), ("none", "none", False)]),
    ],
    ids=["tanh", "relu", "reused", "gelu"],
)
def test_layers_of_a_traced_model_are_replaced_with_their_activations(activation, reuse, expected):
    torch.manual_seed(0)
    layers, compiled, eager = layers_of(Net(activation, reuse), torch.randn(20, 6))
    assert layers == expected
    for a, b in zip(compiled, eager, strict=True):
        assert (a - b).norm() <= 0.02 * b.norm()


class Exact(Net):
    """The same in float32, whatever the autocast around it."""

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            return super().forward(x)


def test_layers_in_an_autocast_region_of_the_model_are_not_replaced():
    layers, (compiled, *_), (eager, *_) = layers_of(Exact(nn.Tanh()), torch.randn(20, 6))
    assert layers == []
    torch.testing.assert_close(compiled, eager)


@pytest.mark.parametrize("bias", [True, False])
def test_layers_without_bias_or_with_more_axes_are_not_replaced(bias):
    x = torch.randn(3, 5, 6) if bias else torch.randn(5, 6)
    layers, _, _ = layers_of(nn.Linear(6, 2, bias=bias), x)
    assert layers == []
