"""The information critic finds no information where there is none, and known information."""

import math
from dataclasses import replace

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
    critic = InformationCritic(1, 1, 32, rate=3e-3)
    for _ in range(steps):
        critic.learn(*draw(500))
    return critic


def estimate(critic, draw, number=2000):
    """The estimate on new pairs."""
    with torch.no_grad():
        return critic(*draw(number)).mean().item()


# Properties


def test_a_critic_that_ignores_the_style_estimates_no_information_at_any_observation():
    critic = InformationCritic(3, 2, 8)
    critic.style_2_weight.zero_()
    critic.style_2_bias.zero_()
    terms = critic(torch.randn(9, 2), torch.randn(9, 3))
    torch.testing.assert_close(terms, torch.zeros(9), rtol=0, atol=1e-6)


def test_the_estimate_is_that_of_its_definition():
    critic = InformationCritic(3, 2, 8).double()
    s, c = torch.randn(5, 2).double(), torch.randn(5, 3).double()

    def outputs(side, x):
        for layer in range(3):
            weight, bias = (critic.get_buffer(f"{side}_{layer}_{p}") for p in ("weight", "bias"))
            x = x @ weight.T + bias
            x = torch.where(x > 0, x, 0.2 * x) if layer < 2 else x
        return x

    scores = (3 * (outputs("style", s) @ outputs("content", c).T / 24).tanh()).tolist()
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


def test_the_steps_of_the_critic_are_those_of_adam():
    critic = InformationCritic(3, 2, 8, rate=1e-2).double()
    s, c = torch.randn(20, 2).double(), torch.randn(20, 3).double()
    twin = InformationCritic(3, 2, 8).double()
    twin.load_state_dict(critic.state_dict())
    leaves = [twin.get_buffer(name).requires_grad_() for name in twin.names]
    adam = torch.optim.Adam(leaves, lr=1e-2)
    for _ in range(5):
        critic.learn(s, c)
        adam.zero_grad()
        (-twin(s, c).mean()).backward()
        adam.step()
    for name in critic.names:
        torch.testing.assert_close(critic.get_buffer(name), twin.get_buffer(name).detach())
    assert list(critic.parameters()) == []  # no optimiser of the model moves the critic


def test_a_step_against_the_gradient_of_the_style_lowers_the_estimate():
    critic = trained(gaussians, 100)
    s, c = gaussians(500)
    s.requires_grad_()
    critic(s, c).sum().backward()
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

INFORMED = Separation(information=2.0, memory=30, critic_batch=20, critic_steps=2, width=8)


def test_the_critic_sees_the_style_that_evaluation_infers(small_model, monkeypatch):
    """Given the mean of the observation's own content, not the draw that is decoded."""
    seen = []
    terms = InformationCritic.forward
    monkeypatch.setattr(
        InformationCritic, "forward", lambda critic, s, c: seen.append(s) or terms(critic, s, c)
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


def after_some_steps(small_model, weight, scale):
    """Loss, term and gradients of a model whose critic has learned, from the same draws."""
    model = small_model(separation=replace(INFORMED, information=weight)).train()
    if weight:
        model.scales["information_scale"].fill_(scale)
    x = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    batch = Batch(x, Groups.of([0, 1, 2] * 3))
    for seed in range(3):
        objective = model(batch, generator=torch.Generator().manual_seed(seed))
    objective.loss.backward()
    return objective, model.encoder.heads.weight.grad


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_weight_and_factor_multiply_the_estimate_in_the_loss(small_model, scale):
    objective, gradient = after_some_steps(small_model, 2.0, scale)
    bound, plain = after_some_steps(small_model, 2.0, 0.0)
    _, whole = after_some_steps(small_model, 2.0, 1.0)
    _, double = after_some_steps(small_model, 4.0, 1.0)
    term = objective.per_observation["information"]
    assert torch.equal(objective.elbo, bound.elbo) and term.shape == (9,)
    torch.testing.assert_close(objective.loss, bound.loss + 2.0 * scale * term.sum() / 3)
    assert (whole - plain).abs().max() > 1e-6
    torch.testing.assert_close(gradient - plain, scale * (whole - plain), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(double - plain, 2 * (whole - plain), rtol=1e-3, atol=1e-6)


def test_the_critic_has_not_seen_the_batch_that_it_judges(small_model, monkeypatch):
    events = []
    for kind, name in (
        (InformationCritic, "learn"),
        (InformationCritic, "forward"),
        (CodeMemory, "write"),
    ):
        method = getattr(kind, name)
        monkeypatch.setattr(
            kind,
            name,
            lambda *args, name=name, method=method: events.append(name) or method(*args),
        )
    model = small_model(separation=INFORMED).train()
    model(Batch(torch.rand(4, 1, 8, 8), Groups.of([0, 0, 1, 1])))
    assert events == ["learn", "learn", "forward", "write"]


# Bad input


@pytest.mark.parametrize(
    ("name", "value"),
    [("memory", 0), ("critic_steps", 0), ("critic_batch", 0), ("critic_rate", 0.0)],
)
def test_an_option_of_the_critic_out_of_range_is_refused(name, value):
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
    assert not torch.allclose(style[0], style[1])
    content, style = styles(style_dropout=False)
    torch.testing.assert_close(style[0], style[1])
    assert not torch.allclose(content[0], content[1])


def test_style_dropout_needs_an_encoder_of_the_style():
    with pytest.raises(InputError, match=r"style_dropout=False .*style_given_content"):
        MLVAE((3,), style_dropout=False)
