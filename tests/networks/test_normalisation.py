import torch
from torch import nn

from mlvae.networks import MLP
from mlvae.networks.normalisation import BatchNorm


def test_it_is_that_of_pytorch_for_several_observations():
    torch.manual_seed(0)
    own, known = BatchNorm(3), nn.BatchNorm1d(3)
    x = torch.randn(5, 3)
    for mode in (True, False):
        torch.testing.assert_close(own.train(mode)(x), known.train(mode)(x))
    torch.testing.assert_close(own.state_dict(), known.state_dict())


def test_one_observation_has_the_running_averages_and_does_not_change_them():
    norm = BatchNorm(3)
    norm(2 + torch.randn(50, 3))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.randn(1, 3)
    one = norm.train()(x)
    torch.testing.assert_close(one, norm.eval()(x))
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


def test_hidden_layers_of_both_networks_are_normalised_and_have_no_bias_of_their_own():
    network = MLP((6, 5), batch_norm=True)
    encoder, decoder = network.encoder((4,), (2,)), network.decoder(2, (4,), 1)
    for part in (encoder.trunk, decoder.trunk):
        layers = [layer for layer in part if not isinstance(layer, nn.Flatten)]
        assert [type(layer) for layer in layers] == [nn.Linear, BatchNorm, nn.Tanh] * 2
        assert all(layer.bias is None for layer in layers if isinstance(layer, nn.Linear))
    assert encoder.heads.bias is not None and decoder.head.bias is not None


def test_without_it_the_weights_and_the_draws_are_as_before():
    torch.manual_seed(0)
    encoder = MLP((6,)).encoder((4,), (2,))
    torch.manual_seed(0)
    trunk, heads = nn.Linear(4, 6), nn.Linear(6, 4)
    assert torch.equal(encoder.trunk[1].weight, trunk.weight)
    assert torch.equal(encoder.heads.weight, heads.weight)


def test_the_authors_initial_weights_are_possible_with_it():
    encoder = MLP((6,), init="lecun", batch_norm=True).encoder((4,), (2,))
    assert encoder(torch.randn(3, 4))[0].mean.isfinite().all()
