"""The network of topics: one weight for each topic and word, dropout, softmax of latents."""

import pytest
import torch
from torch import nn

from mlvae import InputError
from mlvae.networks import TopicMLP
from mlvae.posteriors import DiagonalGaussian, Dirichlet


def test_a_product_is_linear_in_the_shares_up_to_the_normalisation():
    torch.manual_seed(0)
    decoder = TopicMLP(mixing="product").decoder(4, (7,), 1).eval()
    z = torch.rand(5, 4)
    mixed = decoder(0.25 * z + 0.75 * z.flip(0))
    torch.testing.assert_close(mixed, 0.25 * decoder(z) + 0.75 * decoder(z).flip(0))
    assert mixed.shape == (5, 1, 7)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == 4 * 7 + 2 * 7


def test_in_training_every_word_has_the_same_spread_over_a_batch():
    torch.manual_seed(0)
    decoder = TopicMLP(mixing="product").decoder(4, (7,), 1).train()
    out = decoder(torch.rand(200, 4))[:, 0]
    torch.testing.assert_close(out.mean(0), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(0, unbiased=False), torch.ones(7), atol=1e-2, rtol=0)


def test_a_mixture_has_the_mean_of_the_topics_words():
    torch.manual_seed(0)
    decoder = TopicMLP().decoder(4, (7,), 1)
    topics = decoder(torch.eye(4))[:, 0].exp()
    torch.testing.assert_close(topics.sum(1), torch.ones(4))
    z = torch.rand(5, 4).softmax(1)
    torch.testing.assert_close(decoder(z)[:, 0].exp(), z @ topics)
    assert (topics[0] - topics[1]).abs().max() > 0.01


def test_a_weight_that_all_topics_share_does_not_matter():
    torch.manual_seed(0)
    decoder = TopicMLP().decoder(4, (7,), 1)
    before = decoder(torch.eye(4))
    with torch.no_grad():
        decoder.head.topics.mul_(3.0).add_(torch.randn(7))
    torch.testing.assert_close(decoder(torch.eye(4)), before, rtol=1e-2, atol=1e-2)


def test_a_mixture_refuses_latents_that_are_no_shares():
    decoder = TopicMLP().decoder(4, (7,), 1)
    with pytest.raises(InputError, match=r"mixing=mixture .*-1.*softmax=true"):
        decoder(-torch.ones(2, 4))


def test_a_softmax_makes_shares_of_any_numbers():
    torch.manual_seed(0)
    plain, softmax = TopicMLP().decoder(4, (7,), 1), TopicMLP(softmax=True).decoder(4, (7,), 1)
    softmax.head.load_state_dict(plain.head.state_dict())
    z = 3 * torch.randn(5, 4)
    torch.testing.assert_close(softmax.eval()(z), plain.eval()(z.softmax(1)))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("family", [Dirichlet, DiagonalGaussian])
def test_the_encoder_has_dropout_in_training_only(shared, family):
    torch.manual_seed(0)
    encoder = TopicMLP(hidden=(30,), shared=shared, dropout=0.5).encoder((7,), (3, 2), family)
    assert sum(isinstance(part, nn.Dropout) for part in encoder.modules()) == 2 - shared
    x = torch.rand(6, 7)
    with torch.no_grad():
        first, second = (encoder(x)[0].mean for _ in range(2))
        assert not torch.equal(first, second)
        first, second = (encoder.eval()(x)[0].mean for _ in range(2))
    assert torch.equal(first, second) and first.shape == (6, 3)
    without = TopicMLP(hidden=(30,), dropout=0.0).encoder((7,), (3,))
    assert not any(isinstance(part, nn.Dropout) for part in without.modules())


def test_options_out_of_range_are_refused():
    for options, match in [
        ({"dropout": 1.0}, "dropout .*1"),
        ({"hidden": (0,)}, "hidden .*0"),
        ({"activation": "sine"}, "activation .*'sine'"),
        ({"softmax": 1}, "softmax .*1"),
        ({"mixing": "sum"}, "mixing .*'sum'"),
        ({"shared": None}, "shared .*None"),
    ]:
        with pytest.raises(InputError, match=match):
            TopicMLP(**options)
