import torch

from mlvae.training.seeding import default_generator, seeded


def draw(*key):
    return torch.rand(4, generator=seeded(torch.Generator(), *key)).tolist()


def test_the_same_key_draws_the_same_and_any_other_key_another():
    keys = [(0, "noise", 0), (1, "noise", 0), (0, "order", 0), (0, "noise", 1), (0, "noise", 11)]
    draws = [draw(*key) for key in keys]
    assert draws == [draw(*key) for key in keys]
    assert all(a != b for i, a in enumerate(draws) for b in draws[:i])


def test_the_default_generator_is_the_one_torch_draws_from():
    seeded(default_generator(torch.device("cpu")), 3, "dropout", 5)
    assert torch.rand(4).tolist() == draw(3, "dropout", 5)
