"""The style posterior given the content, q(s | x, c)."""

import pytest
import torch

from mlvae import Batch, DiagonalGaussian, Groups
from mlvae.models import MLVAE, build
from mlvae.networks import MLP, Conv, Conv1d, ConvMLP, TopicMLP

NETWORKS = [
    MLP(hidden=(9,)),
    MLP(hidden=(), init="lecun"),
    Conv(widths=(4, 8)),
    ConvMLP(widths=(4, 8), hidden=(9,)),
    TopicMLP(hidden=(9,), mixing="product"),
]


@pytest.fixture
def batch():
    return Batch(torch.rand(6, 1, 8, 8), Groups.of([0, 1, 0, 2, 1, 1]))


@pytest.mark.parametrize("network", [*NETWORKS, Conv1d(widths=(4, 8))])
def test_every_parameter_has_a_gradient_and_the_model_is_rebuilt(network):
    shape = (2, 8) if isinstance(network, Conv1d) else (1, 8, 8)
    batch = Batch(torch.rand(6, *shape), Groups.of([0, 1, 0, 2, 1, 1]))
    options = {"style_given_content": True, "network": network}
    model = MLVAE(shape, content_dim=3, style_dim=2, **options)
    model(batch).loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    again = build(shape, model.config)
    again.load_state_dict(model.state_dict())
    x = batch.x
    assert torch.equal(again.eval().reconstruct(x), model.eval().reconstruct(x))


def test_the_style_depends_on_the_content_only_with_the_option(small_model, batch):
    for conditional in (True, False):
        model = small_model(style_given_content=conditional)
        styles = [model.infer_style(batch.x, torch.full((6, 3), value)) for value in (0.0, 5.0)]
        assert torch.equal(styles[0].mean, styles[1].mean) != conditional


def test_by_default_the_content_is_that_of_the_observation_itself(small_model, batch):
    model = small_model(style_given_content=True)
    own = model.infer_content(batch.x)
    for content in (own, own.mean):
        assert torch.equal(
            model.infer_style(batch.x).mean, model.infer_style(batch.x, content).mean
        )
    group = DiagonalGaussian(torch.ones(6, 3), torch.zeros(6, 3))
    assert not torch.equal(model.infer_style(batch.x).mean, model.infer_style(batch.x, group).mean)


def test_the_bound_is_that_of_the_conditional_posterior(small_model, batch):
    """Computed by hand from one draw of both latents and the parts of the model."""
    model = small_model(style_given_content=True, content_draw="group").double()
    x, groups = batch.x.double(), batch.groups
    objective = model(Batch(x, groups), generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    content = model.infer_content(x, groups)
    c = content.sample(generator=generator)[groups.index]
    style = model.infer_style(x, c)
    s = style.sample(generator=generator)
    expected = model.likelihood.log_prob(model.decoder(torch.cat((c, s), 1)), x) - style.kl()
    for group in range(3):
        bound = expected[groups.index == group].sum() - content.kl()[group]
        torch.testing.assert_close(objective.elbo[group], bound)


def test_a_reconstruction_infers_the_style_given_the_content_of_the_group(small_model, batch):
    model = small_model(style_given_content=True)
    content = model.infer_content(batch.x, batch.groups)[batch.groups.index]
    expected = model.decode(content, model.infer_style(batch.x, content))
    result = model.reconstruct(batch.x, batch.groups)
    torch.testing.assert_close(result, expected.detach())
    own = model.decode(content, model.infer_style(batch.x))  # given the own content of each
    assert (result - own).abs().max() > 1e-6
