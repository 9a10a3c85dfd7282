"""A model with known codes, so that every question has a known answer."""

import pytest
import torch
from torch import nn

from mlvae import DiagonalGaussian, GroupedData
from mlvae.data import Splits
from mlvae.evaluation import Subject
from mlvae.evaluation.measures.leakage.kinds import NETWORKS


class Known(nn.Module):
    """Content is the first row of an image, style the second; both almost without noise."""

    shape = (1, 4, 4)

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))

    def codes(self, batch):
        rows = {"content": 6 * batch.x[:, 0, 0], "style": batch.x[:, 0, 1]}
        return {
            name: DiagonalGaussian(row, torch.full_like(row, -9.0)) for name, row in rows.items()
        }

    def decode(self, content, style):
        rest = torch.zeros(len(content), 2, 4)
        return torch.cat((content[:, None] / 6, style[:, None], rest), 1)[:, None]


class Two(nn.Module):
    """The rows of an image: the first label, the second label, two rows of style."""

    shape = (1, 4, 4)
    grouping_of = {"content_first": "first", "content_second": "second"}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))

    def codes(self, batch):
        rows = batch.x[:, 0]
        codes = {
            "content_first": rows[:, 0],
            "content_second": rows[:, 1],
            "style": rows[:, 2:].flatten(1),
        }
        return {
            name: DiagonalGaussian(row, torch.full_like(row, -9.0)) for name, row in codes.items()
        }

    def decode(self, content_first, content_second, style):
        rows = (content_first[:, None], content_second[:, None], style.unflatten(1, (-1, 4)))
        return torch.cat(rows, 1)[:, None]


@pytest.fixture
def two():
    return Two()


@pytest.fixture
def two_images():
    """Images of pairs of labels with poses in [0, 1), in two groupings."""

    def build(pairs, poses):
        first, second = torch.tensor(pairs).T
        x = torch.zeros(len(pairs), 1, 4, 4)
        x[:, 0, 0] = nn.functional.one_hot(first, 4).float()
        x[:, 0, 1] = nn.functional.one_hot(second, 4).float()
        x[:, 0, 2:] = poses[:, None, None]
        groups = {"first": first, "second": second}
        return GroupedData(x, factors={"pose": poses}, groups=groups)

    return build


@pytest.fixture
def quick(monkeypatch):
    """Networks of few steps, as probes of codes that are easy. Other processes have all steps."""
    for kind, (hidden, schedule) in NETWORKS.items():
        few = schedule._replace(least=100, most=100, checks=10)
        monkeypatch.setitem(NETWORKS, kind, (hidden, few))


@pytest.fixture
def known():
    return Known()


@pytest.fixture
def known_data():
    """Images whose first row is the label in one-hot code and whose other rows are noise."""

    def build(n, labels=4, seed=0):
        generator = torch.Generator().manual_seed(seed)
        label = torch.arange(n) % labels
        x = torch.rand(n, 1, 4, 4, generator=generator)
        x[:, 0, 0] = torch.nn.functional.one_hot(label, 4).float()
        return GroupedData(x, label)

    return build


@pytest.fixture
def known_subject(known, known_data):
    splits = Splits(known_data(80), known_data(120, seed=1), known_data(160, seed=2))
    return Subject(known, splits)


@pytest.fixture
def digits_subject(small_model, digits):
    return Subject(small_model().eval(), digits)
