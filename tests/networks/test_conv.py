import math

import pytest
import torch

from mlvae import Adam, Batch, Groups, InputError
from mlvae.models import MLVAE
from mlvae.networks import ACTIVATIONS, Conv
from mlvae.networks.conv import Halving
from mlvae.training.loop import training_step
from mlvae.training.step import StepParts

SMALL = Conv(widths=(8, 12), blocks=1)
SHAPES = [(1, 8, 8), (3, 9, 7), (4, 1, 1), (2, 1, 17), (3, 5, 33), (1, 28, 28), (3, 64, 64)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shared", [True, False])
def test_encoder_and_decoder_fit_any_image_and_every_parameter_learns(shape, shared):
    network = Conv(widths=(8, 12, 9), blocks=1, shared=shared)
    encoder, decoder = network.encoder(shape, (3, 2)), network.decoder(5, shape, 2)
    content, style = encoder(torch.rand(4, *shape))
    assert content.mean.shape == (4, 3) and style.log_variance.shape == (4, 2)
    output = decoder(torch.cat((content.sample(), style.sample()), 1))
    assert output.shape == (4, 2, *shape)
    (output - torch.rand(4, 2, *shape)).square().sum().backward()
    for module in (encoder, decoder):
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.any(), name


@pytest.mark.parametrize("size", range(1, 20))
def test_every_size_comes_back(size):
    shape = (1, size, 20 - size)
    (code,) = SMALL.encoder(shape, [3])(torch.rand(1, *shape))
    assert SMALL.decoder(3, shape, 1)(code.mean).shape == (1, 1, *shape)


def test_the_decoder_mirrors_the_encoder():
    network = Conv(widths=(8, 16, 24), blocks=2)
    encoder, decoder = network.encoder((3, 20, 30), [4]), network.decoder(4, (3, 20, 30), 1)
    up, down = [], []  # (channels, height, width) of every convolution's output, but the head's
    for module, sizes in ((encoder, down), (decoder.trunk, up)):
        for layer in module.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(lambda _, i, o, s=sizes: s.append(tuple(o.shape[1:])))
    decoder(encoder(torch.rand(1, 3, 20, 30))[0].mean)
    stages = [(8, 10, 15), (16, 5, 8), (24, 3, 4)]
    assert down == [size for size in stages for _ in range(5)]
    # Upwards: two blocks of two, and to the width of the next stage at its size.
    assert up[:4] == [stages[2]] * 4 and up[4:9] == [stages[1]] * 5 and up[9:] == [stages[0]] * 5


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 125])
def test_enlarging_repeats_pixels_and_crops_what_was_rounded_up(size):
    decoder = Conv(widths=(8,)).decoder(2, (1, size, 1), 1)
    x = torch.rand(1, 8, -(-size // 2), 1)
    expected = x.repeat_interleave(2, 2)[:, :, :size]
    assert torch.equal(decoder.trunk[-1](x), expected)


def test_separate_encoders_share_nothing():
    separate = Conv(widths=(8,), shared=False).encoder((1, 8, 8), (3, 2))
    content, _ = separate(torch.rand(4, 1, 8, 8))
    content.mean.sum().backward()
    with_gradient = {n.split(".")[1] for n, p in separate.named_parameters() if p.grad is not None}
    assert with_gradient == {"0"}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_activation_is_the_one_named(activation):
    modules = list(Conv(widths=(8,), activation=activation).decoder(2, (1, 4, 4), 1).modules())
    assert sum(type(module) is ACTIVATIONS[activation] for module in modules) == 3


def test_norms_take_groups_of_at_least_eight_channels_that_divide_the_width():
    for width, groups in {4: 1, 8: 1, 16: 2, 24: 3, 20: 2, 23: 1, 256: 32}.items():
        norms = [
            m
            for m in Conv(widths=(width,)).encoder((1, 8, 8), [1]).modules()
            if isinstance(m, torch.nn.GroupNorm)
        ]
        assert [norm.num_groups for norm in norms] == [groups] * 3


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8)])
def test_an_untrained_network_begins_near_zero(shape):
    encoder, decoder = Conv().encoder(shape, (16, 16)), Conv().decoder(32, shape, 2)
    for posterior in encoder(torch.rand(8, *shape)):
        assert posterior.log_variance.abs().max() < 0.5 and posterior.mean.abs().max() < 0.5
    assert decoder(torch.randn(8, 32)).abs().max() < 0.5
    assert decoder(10 * torch.randn(8, 32)).abs().max() < 1  # norms: far latents explode nothing


@pytest.mark.parametrize("blocks", [0, 1])
def test_dropout_is_of_training_alone(blocks):
    encoder = Conv(widths=(8,), blocks=blocks, dropout=0.5).encoder((1, 8, 8), [2])
    x = torch.rand(3, 1, 8, 8)
    assert not torch.equal(encoder(x)[0].mean, encoder(x)[0].mean)
    encoder.eval()
    assert torch.equal(encoder(x)[0].mean, encoder(x)[0].mean)
    assert not any(
        isinstance(m, torch.nn.Dropout) for m in SMALL.encoder((1, 8, 8), [2]).modules()
    )


def test_without_blocks_there_is_an_activation_behind_every_convolution_but_the_last():
    network = Conv(widths=(4, 6), blocks=0)
    encoder, decoder = network.encoder((1, 8, 8), [2]), network.decoder(2, (1, 8, 8), 1)
    kinds = [type(m).__name__ for m in encoder.trunk]
    assert kinds == ["Halving", "GroupNorm", "SiLU"] * 2 + ["Flatten"]
    kinds = [type(m).__name__ for m in decoder.trunk]
    stage = ["GroupNorm", "SiLU", "Upsample"]
    assert kinds == ["Linear", "Unflatten", *stage, "Conv2d", *stage]


def model_and_batch(**options):
    torch.manual_seed(0)
    model = MLVAE((3, 9, 12), content_dim=3, style_dim=2, network=SMALL, **options)
    return model, Batch(torch.rand(6, 3, 9, 12), Groups.of(torch.arange(6) % 2))


def test_observations_in_any_memory_order_give_the_same():
    model, batch = model_and_batch()
    last = batch.x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model.infer_style(last).mean, model.infer_style(batch.x).mean)


def test_autocast_agrees_with_float32():
    model, batch = model_and_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        objective = model(batch, generator=torch.Generator().manual_seed(0))
    exact = model(batch, generator=torch.Generator().manual_seed(0))
    terms = {**objective.per_observation, **objective.per_group}
    assert {term.dtype for term in terms.values()} == {torch.float32}
    torch.testing.assert_close(objective.loss, exact.loss, rtol=0.02, atol=0)


def test_a_fused_step_equals_plain_adam_for_any_memory_order_of_the_weights():
    model, batch = model_and_batch()
    reference, _ = model_and_batch()
    for parameter in reference.parameters():
        parameter.data = parameter.data.contiguous()
    parts = StepParts(model, Adam())
    adam = torch.optim.Adam(reference.parameters(), lr=1e-3)
    for i in range(2):
        training_step(parts, batch, torch.Generator().manual_seed(i))
        adam.zero_grad()
        reference(batch, generator=torch.Generator().manual_seed(i)).loss.backward()
        adam.step()
    for fused, plain in zip(model.parameters(), reference.parameters(), strict=True):
        # Where a gradient is zero except for rounding, Adam's step has either sign.
        assert (fused - plain).abs().mean() < 1e-5


def test_the_networks_compile_into_one_graph():
    model, batch = model_and_batch()
    model.double()
    x = batch.x.double()
    compiled = torch.compile(model.encoder, backend="eager", fullgraph=True)
    latent = torch.cat([q.mean for q in compiled(x)], 1).detach()
    torch.testing.assert_close(latent, torch.cat([q.mean for q in model.encoder(x)], 1))
    compiled = torch.compile(model.decoder, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(latent), model.decoder(latent))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": 32}, "network.widths must be a list, not 32"),
        ({"widths": ()}, "network.widths must not be an empty list"),
        ({"widths": (32, 1)}, "at least 2, not 1"),
        ({"blocks": -1}, "at least 0, not -1"),
        ({"activation": "relo"}, "did you mean 'relu'"),
        ({"dropout": 1.0}, r"network.dropout must be a number in \[0, 0.999\], not 1.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Conv(**options)


@pytest.mark.parametrize("shape", [(12,), (8, 8), (1, 2, 3, 4)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(InputError, match="takes images"):
        MLVAE(shape, network=Conv())


def test_an_even_code_decodes_without_a_checkerboard():
    decoder = Conv(widths=(8, 8), blocks=0).decoder(2, (1, 64, 64), 1)
    with torch.no_grad():
        decoder.trunk[0].weight.zero_()
        bias = decoder.trunk[0].bias.view(8, 16, 16)
        bias.copy_(torch.randn(8, 1, 1).expand_as(bias))
    inside = decoder(torch.randn(1, 2))[0, 0, 0, 8:-8, 8:-8]
    torch.testing.assert_close(inside, inside[0, 0].expand_as(inside))
    assert inside[0, 0].abs() > 1e-4


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (2, 2)])
def test_the_gradient_in_bfloat16_is_that_of_float32_however_small_the_image(size):
    # Of images one pixel wide PyTorch leaves a part of it unwritten: here that would be NaN.
    for seed in range(4):
        torch.manual_seed(seed)
        layer, x = Halving(32, 64), torch.randn(50, 32, *size)
        gradients = []
        for enabled in (False, True):
            unwritten = [torch.full((200_000,), math.nan) for _ in range(8)]
            del unwritten
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                y = layer(x)
            gradients.append(torch.autograd.grad(y.float().sum(), layer.weight)[0])
        torch.testing.assert_close(*gradients, rtol=0.05, atol=0.5)
