import pytest
import torch

from mlvae import InputError
from mlvae.networks import ACTIVATIONS, MLP

SHAPES = [(1, 8, 8), (3, 5, 7), (6,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("hidden", [(), (9,), (9, 4)])
@pytest.mark.parametrize("init", ["torch", "lecun"])
def test_encoder_and_decoder_fit_any_shape_and_every_parameter_learns(shape, shared, hidden, init):
    network = MLP(hidden=hidden, shared=shared, init=init)
    encoder, decoder = network.encoder(shape, (3, 2)), network.decoder(5, shape, 2)
    content, style = encoder(torch.rand(4, *shape))
    assert content.mean.shape == (4, 3) and style.log_variance.shape == (4, 2)
    output = decoder(torch.cat((content.sample(), style.sample()), 1))
    assert output.shape == (4, 2, *shape)
    output.square().sum().backward()
    for module in (encoder, decoder):
        assert all(p.grad is not None and p.grad.any() for p in module.parameters())


def test_separate_encoders_share_nothing_and_a_shared_trunk_is_one():
    separate = MLP(hidden=(9,), shared=False).encoder((6,), (3, 2))
    content, _ = separate(torch.rand(4, 6))
    content.mean.sum().backward()
    with_gradient = {n.split(".")[1] for n, p in separate.named_parameters() if p.grad is not None}
    assert with_gradient == {"0"}
    shared = MLP(hidden=(9,)).encoder((6,), (3, 2))
    assert sum(p.numel() for p in shared.parameters()) == 6 * 9 + 9 + 9 * 10 + 10


def test_the_heads_of_an_encoder_are_independent_rows():
    encoder = MLP(hidden=()).encoder((6,), (3, 2))
    x = torch.rand(4, 6)
    content, style = encoder(x)
    rows = torch.nn.functional.linear(x, encoder.heads.weight, encoder.heads.bias)
    parts = (content.mean, content.log_variance, style.mean, style.log_variance)
    torch.testing.assert_close(torch.cat(parts, 1), rows)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_activation_is_the_one_named(activation):
    trunk = MLP(hidden=(9,), activation=activation).decoder(2, (6,), 1).trunk
    assert type(trunk[1]) is ACTIVATIONS[activation]


def test_the_decoder_has_the_encoders_widths_in_reverse():
    network = MLP(hidden=(9, 4))
    assert network.encoder((6,), (2,)).trunk[1].out_features == 9
    assert network.decoder(2, (6,), 1).trunk[0].out_features == 4


def test_lecun_weights_and_biases_have_the_authors_spread():
    # Weights 1/sqrt(fan-in); biases 1/sqrt(their own length), head by head.
    network = MLP(hidden=(2000,), init="lecun")
    encoder = network.encoder((1, 20, 20), (300, 500))
    first, heads = encoder.trunk[1], encoder.heads
    assert first.weight.std().item() == pytest.approx(400**-0.5, rel=0.05)
    assert first.bias.std().item() == pytest.approx(2000**-0.5, rel=0.1)
    assert heads.weight.std().item() == pytest.approx(2000**-0.5, rel=0.05)
    content, style = heads.bias[:600], heads.bias[600:]
    assert content.std().item() == pytest.approx(300**-0.5, rel=0.1)
    assert style.std().item() == pytest.approx(500**-0.5, rel=0.1)
    mean_and_log_variance = network.decoder(20, (1, 20, 20), 2).head.bias
    assert mean_and_log_variance.std().item() == pytest.approx(400**-0.5, rel=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 500}, "network.hidden must be a list, not 500"),
        ({"hidden": (500, 0)}, "at least 1, not 0"),
        ({"activation": "tann"}, "did you mean 'tanh'"),
        ({"init": "xavier"}, "one of torch, lecun, not 'xavier'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        MLP(**options)
