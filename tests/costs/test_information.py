"""The information critic finds no information where there is none, and known information."""

import math

import pytest
import torch

from mlvae import Batch, DiagonalGaussian, Groups, InputError, Reports, train
from mlvae.costs import Separation
from mlvae.costs.information import CodeMemory, InformationCritic
from mlvae.models import MLVAE
from mlvae.networks import MLP, Conv
from mlvae.training.checkpoint import read_checkpoint


def trained(draw, steps, seed=0):
    """A critic that learned from ``steps`` batches of ``draw(number)``."""
    torch.manual_seed(seed)
    critic = InformationCritic(1, 1, 32)
    adam = torch.optim.Adam(critic.parameters(), lr=3e-3)
    for _ in range(steps):
        loss = critic.losses(*draw(500), weight=0.0).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return critic


def estimate(critic, draw, number=2000):
    """The estimate on new pairs."""
    with torch.no_grad():
        return critic(*draw(number)).mean().item()


# Properties


def test_a_critic_that_ignores_the_style_estimates_no_information_at_any_observation():
    critic = InformationCritic(3, 2, 8)
    torch.nn.init.zeros_(critic.of_style[-1].weight)
    torch.nn.init.zeros_(critic.of_style[-1].bias)
    terms = critic(torch.randn(9, 2), torch.randn(9, 3))
    torch.testing.assert_close(terms, torch.zeros(9), rtol=0, atol=1e-6)


def test_the_estimate_is_that_of_its_definition():
    critic = InformationCritic(3, 2, 8).double()
    s, c = torch.randn(5, 2).double(), torch.randn(5, 3).double()
    scores = (critic.of_style(s) @ critic.of_content(c).T / 8).tolist()
    for i, term in enumerate(critic(s, c)):
        mean = sum(math.exp(scores[i][j]) for j in range(5)) / 5
        assert term.item() == pytest.approx(scores[i][i] - math.log(mean), abs=1e-9)


def independent(number):
    return torch.randn(number, 1), torch.randn(number, 1)


def two_groups(number):
    """The content has one bit, and the style has it without noise."""
    bit = 2.0 * torch.randint(2, (number, 1)) - 1
    return bit.clone(), bit


def gaussians(number):
    """Correlation 0.6: minus half the logarithm of 1 - 0.36, 0.223 nats."""
    content = torch.randn(number, 1)
    return 0.6 * content + 0.8 * torch.randn(number, 1), content


@pytest.mark.parametrize(
    ("draw", "nats"),
    [(independent, 0.0), (two_groups, math.log(2)), (gaussians, -0.5 * math.log(0.64))],
)
def test_a_trained_critic_estimates_the_known_information(draw, nats):
    critic = trained(draw, 250)
    torch.manual_seed(1)
    values = torch.tensor([estimate(critic, draw) for _ in range(5)])
    assert values.mean().item() == pytest.approx(nats, abs=0.02)


def test_the_weight_multiplies_the_gradient_of_the_style_and_not_of_the_critic():
    critic, c = InformationCritic(3, 2, 8), torch.randn(7, 3, requires_grad=True)
    gradients, own = [], []
    for weight in (1.0, 4.0):
        s = torch.linspace(-1, 1, 14).view(7, 2).requires_grad_()
        critic.zero_grad()
        critic.losses(s, c, weight).sum().backward()
        gradients.append(s.grad)
        own.append([p.grad.clone() for p in critic.parameters()])
    torch.testing.assert_close(gradients[1], 4 * gradients[0])
    torch.testing.assert_close(own[1], own[0])
    assert c.grad is None


def test_a_step_against_the_gradient_of_the_style_lowers_the_estimate():
    critic = trained(gaussians, 100)
    s, c = gaussians(500)
    s.requires_grad_()
    critic.losses(s, c, 1.0).sum().backward()
    with torch.no_grad():
        assert critic(s - 0.1 * s.grad, c).mean() < critic(s, c).mean() - 1e-3


# The memory


def numbered(first, number):
    """Posteriors almost without noise, and contents, that are the numbers from ``first`` on."""
    values = torch.arange(first, first + number).float()[:, None]
    return DiagonalGaussian(values, torch.full_like(values, -40)), values.clone()


def test_the_memory_has_the_last_codes_and_draws_pairs():
    memory = CodeMemory(10, 1, 1)
    for first in range(0, 24, 4):
        memory.write(*numbered(first, 4))
        style, content = memory.draw(500)
        torch.testing.assert_close(style, content)
        last = first + 4
        assert set(content[:, 0].int().tolist()) == set(range(max(0, last - 10), last))


def test_of_a_batch_longer_than_the_memory_the_last_codes_are_kept():
    memory = CodeMemory(10, 1, 1)
    memory.write(*numbered(0, 25))
    assert set(memory.draw(500)[1][:, 0].int().tolist()) == set(range(15, 25))


def test_the_noise_of_a_remembered_style_is_new_in_each_draw():
    memory = CodeMemory(5, 1, 2)
    q = DiagonalGaussian(torch.full((5, 2), 3.0), torch.full((5, 2), math.log(0.25)))
    memory.write(q, torch.zeros(5, 1))
    style, _ = memory.draw(20_000, generator=torch.Generator().manual_seed(0))
    assert style.mean().item() == pytest.approx(3.0, abs=0.02)
    assert style.std().item() == pytest.approx(0.5, abs=0.01)


# The cost in a model

INFORMED = Separation(information=2.0, memory=30, remembered=20, width=8)


def test_the_critic_sees_the_style_that_evaluation_infers(small_model, monkeypatch):
    """Given the mean of the observation's own content, not the draw that is decoded."""
    seen = []
    losses = InformationCritic.losses
    monkeypatch.setattr(
        InformationCritic,
        "losses",
        lambda critic, s, c, weight: seen.append(s) or losses(critic, s, c, weight),
    )
    model = small_model(
        separation=INFORMED, style_given_content=True, evidence_from="fellow"
    ).train()
    batch = Batch(torch.rand(400, 1, 8, 8).repeat(3, 1, 1, 1)[:400], Groups.of([0, 1] * 200))
    batch.x[:] = batch.x[0]
    with torch.no_grad():
        model(batch)
        expected = model.infer_style(batch.x[:1])
    error = expected.variance.sqrt()[0] / 20
    assert ((seen[0].mean(0) - expected.mean[0]).abs() < 5 * error).all()
    torch.testing.assert_close(seen[0].std(0), expected.variance.sqrt()[0], rtol=0.2, atol=0)


def test_a_run_with_a_memory_is_resumed_bit_for_bit(digits, tmp_path):
    def fit(run, epochs, **options):
        torch.manual_seed(0)
        model = MLVAE((1, 8, 8), network=MLP((8,)), separation=INFORMED)
        reports = Reports(pictures_every=None, progress=False)
        train(
            model, digits.train, run=run, epochs=epochs, reports=reports, device="cpu", **options
        )
        return read_checkpoint(run / "checkpoint.pt")["model"]

    whole = fit(tmp_path / "whole", 3)
    fit(tmp_path / "parts", 1)
    again = fit(tmp_path / "parts", 3, resume=True)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert whole["separators.memory.written"] > 30
    assert whole["separators.memory.content"].any(1).all()


# Bad input


def test_a_memory_without_the_critic_is_refused():
    with pytest.raises(InputError, match=r"separation.memory=7 .*separation.information"):
        Separation(memory=7)


@pytest.mark.parametrize(("name", "value"), [("memory", -1), ("remembered", 0)])
def test_a_number_of_codes_out_of_range_is_refused(name, value):
    with pytest.raises(InputError, match=rf"separation.{name} .*{value}"):
        Separation(information=1.0, **{name: value})


# The dropout of the style's encoder


def test_the_style_encoder_has_dropout_unless_it_is_switched_off(small_model):
    def styles(**options):
        torch.manual_seed(0)
        network = Conv((4, 8), dropout=0.5)
        model = MLVAE((1, 8, 8), network=network, style_given_content=True, **options).train()
        member_q, style_given = model.posteriors(torch.ones(2, 1, 8, 8))
        return member_q.mean, style_given(torch.zeros(2, 10)).mean

    content, style = styles()
    assert not torch.allclose(style[0], style[1], atol=1e-3)
    content, style = styles(style_dropout=False)
    assert torch.allclose(style[0], style[1], atol=1e-6) and not torch.equal(
        content[0], content[1]
    )


def test_style_dropout_needs_an_encoder_of_the_style():
    with pytest.raises(InputError, match=r"style_dropout=False .*style_given_content"):
        MLVAE((3,), style_dropout=False)
