"""One-dimensional convolutions: any length and number of channels, mirrored stages."""

import numpy as np
import pytest
import torch

import mlvae
from mlvae import Adam, GroupedData, InputError
from mlvae.data import Grouped
from mlvae.likelihoods import LearnedGaussian
from mlvae.networks import Conv1d


@pytest.mark.parametrize("shape", [(1, 8), (3, 125), (4, 1), (40, 2), (3, 128), (1, 33)])
@pytest.mark.parametrize("shared", [True, False])
def test_encoder_and_decoder_fit_any_signal_and_every_parameter_learns(shape, shared):
    network = Conv1d(widths=(8, 12, 9), shared=shared)
    encoder, decoder = network.encoder(shape, (3, 2)), network.decoder(5, shape, 2)
    content, style = encoder(torch.randn(4, *shape))
    assert content.mean.shape == (4, 3) and style.log_variance.shape == (4, 2)
    output = decoder(torch.cat((content.sample(), style.sample()), 1))
    assert output.shape == (4, 2, *shape)
    (output - torch.rand(4, 2, *shape)).square().sum().backward()
    for module in (encoder, decoder):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("length", range(1, 20))
@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_every_length_comes_back(length, kernel):
    network = Conv1d(widths=(8, 12), kernel=kernel)
    (code,) = network.encoder((2, length), [3])(torch.randn(1, 2, length))
    assert network.decoder(3, (2, length), 1)(code.mean).shape == (1, 1, 2, length)


def test_the_decoder_mirrors_the_encoder():
    network = Conv1d(widths=(8, 16, 24))
    encoder, decoder = network.encoder((3, 21), [4]), network.decoder(4, (3, 21), 1)
    up, down = [], []  # (channels, length) of every convolution's output
    for module, sizes in ((encoder, down), (decoder, up)):
        for layer in module.modules():
            if isinstance(layer, torch.nn.Conv1d):
                layer.register_forward_hook(lambda _, i, o, s=sizes: s.append(tuple(o.shape[1:])))
    decoder(encoder(torch.randn(1, 3, 21))[0].mean)
    assert down == [(8, 11), (16, 6), (24, 3)]
    assert up == [(16, 6), (8, 11), (3, 21)]


def test_a_kernel_reaches_along_the_time_only():
    network = Conv1d(widths=(8,), kernel=3)
    convolution = network.encoder((2, 64), [1]).trunk[0]
    x = torch.zeros(1, 2, 64)
    x[0, 1, 20] = 1
    reached = (convolution(x) - convolution(torch.zeros(1, 2, 64))).abs().sum(1)[0].nonzero()
    assert set(reached[:, 0].tolist()) <= {10} and len(reached) == 1  # times 19 to 21


def test_an_untrained_network_begins_near_zero():
    encoder, decoder = Conv1d().encoder((3, 128), (16, 16)), Conv1d().decoder(32, (3, 128), 2)
    for posterior in encoder(torch.randn(8, 3, 128)):
        assert posterior.log_variance.abs().max() < 0.5 and posterior.mean.abs().max() < 0.5
    assert decoder(torch.randn(8, 32)).abs().max() < 0.5


@pytest.mark.parametrize("length", [1, 2, 4])
def test_bfloat16_has_finite_gradients_of_signals_shorter_than_the_kernel(length):
    encoder = Conv1d(widths=(8, 8)).encoder((2, length), [3])
    for _ in range(5):  # memory that was used before may have anything
        encoder.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            (code,) = encoder(torch.randn(4, 2, length))
        code.mean.float().sum().backward()
        assert all(
            p.grad.isfinite().all() and p.grad.abs().max() < 1e3 for p in encoder.parameters()
        )


def test_it_learns_and_is_loaded(tmp_path):
    """The frequency of a wave is that of its group, its phase is the observation's."""
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(3), 40)
    phase = random.uniform(0, 2 * np.pi, len(group))
    time = np.arange(32) / 32 * 2 * np.pi
    x = np.sin((group[:, None] + 1) * time + phase[:, None])[:, None].repeat(2, 1)
    data = GroupedData(x.astype(np.float32), group)
    assert data.shape == (2, 32)
    torch.manual_seed(0)
    model = mlvae.models.MLVAE(
        data.shape,
        content_dim=4,
        style_dim=4,
        network=Conv1d(widths=(16, 16)),
        likelihood=LearnedGaussian(scope="scalar", log_variance_min=-6),
    )
    mlvae.train(
        model,
        data,
        run=tmp_path / "run",
        epochs=80,
        batching=Grouped(groups=3, members=10),
        optimizer=Adam(3e-3),
        reports=mlvae.Reports(progress=False, pictures_every=None),
    )
    again = mlvae.load(tmp_path / "run").eval()
    error = (again.reconstruct(data.x) - data.x).square().mean()
    assert float(error) < 0.6 * float(data.x.var())
    assert torch.equal(again.reconstruct(data.x), model.eval().reconstruct(data.x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 4}, r"kernel .*4"),
        ({"kernel": 0}, r"kernel .*0"),
        ({"widths": ()}, "widths"),
        ({"widths": (1,)}, "widths .*1"),
        ({"activation": "tan"}, "activation .*'tan'"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=f"network.{message}"):
        Conv1d(**options)


@pytest.mark.parametrize("shape", [(12,), (1, 28, 28)])
def test_observations_of_another_rank_are_refused(shape):
    with pytest.raises(InputError, match=r"Conv1d .*Conv .*MLP"):
        Conv1d().encoder(shape, [2])
    with pytest.raises(InputError, match="Conv1d"):
        Conv1d().decoder(2, shape, 1)
