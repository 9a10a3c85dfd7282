import pytest
import torch

from mlvae import Adam, InputError


def test_a_constant_rate_is_constant_and_a_cosine_falls_to_zero():
    assert {Adam(learning_rate=0.1).rate(step, 100) for step in range(100)} == {0.1}
    cosine = Adam(learning_rate=0.1, schedule="cosine")
    assert cosine.rate(0, 100) == 0.1
    assert cosine.rate(25, 100) == pytest.approx(0.05 * (1 + 0.5**0.5))
    assert cosine.rate(50, 100) == pytest.approx(0.05)
    assert cosine.rate(100, 100) == pytest.approx(0)
    rates = [cosine.rate(step, 100) for step in range(101)]
    assert rates == sorted(rates, reverse=True)


def test_a_warm_up_rises_linearly_to_the_rate_and_the_schedule_begins_after_it():
    recipe = Adam(learning_rate=0.1, warmup_steps=10, schedule="cosine")
    assert [recipe.rate(step, 110) for step in (0, 4, 9, 10)] == pytest.approx(
        [0.01, 0.05, 0.1, 0.1]
    )
    assert recipe.rate(60, 110) == pytest.approx(0.05)


def test_without_weight_decay_it_is_adam():
    values = torch.nn.Parameter(torch.randn(9)), None
    mine, theirs = (torch.nn.Parameter(values[0].detach().clone()) for _ in range(2))
    a, b = Adam(learning_rate=0.1).build([mine]), torch.optim.Adam([theirs], lr=0.1)
    for _ in range(5):
        for parameter, optimizer in ((mine, a), (theirs, b)):
            optimizer.zero_grad()
            parameter.pow(4).sum().backward()
            optimizer.step()
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be a number above 0"),
        ({"learning_rate": "fast"}, "not 'fast'"),
        ({"betas": (0.9,)}, "two numbers"),
        ({"betas": (0.9, 1.0)}, "betas must be a number in"),
        ({"eps": 0}, "eps must be a number above 0"),
        ({"weight_decay": -1}, "weight_decay must be a number of at least 0"),
        ({"schedule": "step"}, "one of constant, cosine"),
        ({"warmup_steps": -1}, "warmup_steps must be an integer of at least 0"),
        ({"gradient_clip": 0}, "gradient_clip must be a number above 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Adam(**options)
