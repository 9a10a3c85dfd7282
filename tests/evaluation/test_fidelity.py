"""Swaps shown to a classifier of real observations, with models whose swaps are known."""

import pytest
import torch
from torch import nn

from mlvae.data import GroupedData, Splits
from mlvae.errors import InputError
from mlvae.evaluation import Fidelity, Subject
from mlvae.models import VAE
from mlvae.networks import MLP


class Copy(nn.Module):
    """A model whose swap is one of the two it is given."""

    def __init__(self, which):
        super().__init__()
        self.which = which
        self.weight = nn.Parameter(torch.zeros(()))

    def swap(self, content_of, style_of):
        return (content_of, style_of)[self.which]

    def reconstruct(self, x):
        return torch.zeros_like(x)


def reading(model, splits, **options):
    answer = Fidelity(epochs=15, swaps=500, **options).ask(Subject(model, splits))
    return answer, {r["read"]: r["accuracy"] for r in answer.metrics.get("records", [])}


@pytest.mark.parametrize("which", [0, 1])
def test_it_tells_which_of_the_two_a_swap_is(digits, which):
    _, read = reading(Copy(which), digits, seeds=2)
    kept, lost = (read["content"], read["style"])[:: 1 - 2 * which]
    assert read["real"].mean > 0.93
    assert kept.mean == pytest.approx(read["real"].mean, abs=0.03)
    assert lost.mean < 0.05
    assert read["reconstruction"].mean < 0.2  # an empty image is one digit at most
    assert read["real"].standard_error >= 0


def test_features_are_read_too(digits):
    flat = Splits(
        GroupedData(digits.train.x.flatten(1), digits.train.groups.index),
        test=GroupedData(digits.test.x.flatten(1), digits.test.groups.index),
    )
    _, read = reading(Copy(0), flat, seeds=1)
    assert read["content"].mean > 0.9


def test_the_same_seeds_give_the_same_answer(digits):
    (_, first), (_, second) = (reading(Copy(0), digits, seeds=1) for _ in range(2))
    assert [r.mean for r in first.values()] == [r.mean for r in second.values()]


def test_a_classifier_that_is_kept_is_not_trained_again(digits, tmp_path, monkeypatch):
    options = {"seeds": 1, "keep": str(tmp_path / "classifiers")}
    _, first = reading(Copy(0), digits, **options)
    (kept,) = (tmp_path / "classifiers").iterdir()
    _, apart = reading(Copy(0), digits, seeds=1)
    assert [r.mean for r in first.values()] == [r.mean for r in apart.values()]
    with monkeypatch.context() as patch:
        patch.setattr("mlvae.evaluation.questions.fidelity._train", None)
        _, second = reading(Copy(0), digits, **options)
    assert [r.mean for r in first.values()] == [r.mean for r in second.values()]
    # Other data have one of their own.
    fewer = Splits(digits.train.subset(range(500)), test=digits.test)
    reading(Copy(0), fewer, **options)
    assert len(list((tmp_path / "classifiers").iterdir())) == 2 and kept.is_file()


def test_where_there_is_nothing_to_swap_or_to_read_it_is_not_asked(digits):
    vae = VAE((1, 8, 8), latent_dim=2, network=MLP(hidden=(4,)))
    one = GroupedData(torch.rand(4, 1, 8, 8), [0] * 4)
    unseen = GroupedData(torch.rand(4, 1, 8, 8), [11] * 4)
    for model, splits in (
        (vae, digits),
        (Copy(0), Splits(digits.train)),
        (Copy(0), Splits(digits.train, test=unseen)),
        (Copy(0), Splits(one, test=one)),
    ):
        answer, read = reading(model, splits)
        assert "Not asked" in answer.summary[0] and not read


def test_options_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"evaluation\.fidelity\.swaps must be"):
        Fidelity(swaps=0)
