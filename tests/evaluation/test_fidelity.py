"""A classifier of real observations predicts swaps, of models whose swaps are known."""

import pytest
import torch
from torch import nn

from mlvae.data import GroupedData, Splits
from mlvae.errors import InputError
from mlvae.evaluation import Fidelity, Subject
from mlvae.models import VAE
from mlvae.networks import MLP
from mlvae.posteriors import Point


class Copy(nn.Module):
    """A model with the observation as both codes; it decodes the code named ``which``.

    A reconstruction, where both codes are equal, is empty.
    """

    def __init__(self, which, shape=(1, 8, 8)):
        super().__init__()
        self.which, self.shape = which, shape
        self.weight = nn.Parameter(torch.zeros(()))

    def codes(self, batch):
        return {name: Point(batch.x.flatten(1)) for name in ("content", "style")}

    def decode(self, **codes):
        swapped = (codes["content"] != codes["style"]).any(1, keepdim=True)
        return (codes[self.which] * swapped).view(-1, *self.shape)


def reading(model, splits, **options):
    answer = Fidelity(epochs=15, swaps=500, **options).ask(Subject(model, splits))
    return answer, {r["read"]: r["accuracy"] for r in answer.metrics.get("records", [])}


@pytest.mark.parametrize(("which", "other"), [("content", "style"), ("style", "content")])
def test_predictions_of_swaps_show_the_code_that_carries_the_group(digits, which, other):
    _, read = reading(Copy(which), digits, seeds=2)
    kept, lost = read[which], read[other]
    assert read["real"].mean > 0.93
    assert kept.mean == pytest.approx(read["real"].mean, abs=0.03)
    assert lost.mean < 0.05
    assert read["reconstruction"].mean < 0.2  # an empty image is one digit at most
    assert read["real"].standard_error >= 0


def test_feature_vectors_are_classified(digits):
    flat = Splits(
        GroupedData(digits.train.x.flatten(1), digits.train.groups.index),
        test=GroupedData(digits.test.x.flatten(1), digits.test.groups.index),
    )
    _, read = reading(Copy("content", (64,)), flat, seeds=1)
    assert read["content"].mean > 0.9


def test_errors_are_over_test_observations_however_many_pairs_have_them():
    x = torch.linspace(-2, 2, 200)[:, None].repeat(1, 2)
    train = GroupedData(x, (x[:, 0] > 0).long())
    group = torch.arange(40) % 2
    place = torch.where(torch.arange(40) < 20, 2 * group - 1, 1 - 2 * group)  # half misread
    test = GroupedData(place[:, None].repeat(1, 2).float(), group)
    answer = Fidelity(epochs=60, swaps=4000).ask(
        Subject(Copy("content", (2,)), Splits(train, test=test))
    )
    read = {r["read"]: r["accuracy"] for r in answer.metrics["records"]}
    assert read["real"].mean == pytest.approx(0.5, abs=0.03)
    assert read["real"].sampling_error == pytest.approx(0.5 / 40**0.5, rel=0.25)
    assert min(read[name].sampling_error for name in ("content", "style")) > 0.04


def test_the_same_seeds_give_the_same_answer(digits):
    (_, first), (_, second) = (reading(Copy("content"), digits, seeds=1) for _ in range(2))
    assert [r.mean for r in first.values()] == [r.mean for r in second.values()]


def test_a_kept_classifier_is_not_trained_again(digits, tmp_path, monkeypatch):
    options = {"seeds": 1, "keep": str(tmp_path / "classifiers")}
    _, first = reading(Copy("content"), digits, **options)
    (kept,) = (tmp_path / "classifiers").iterdir()
    _, apart = reading(Copy("content"), digits, seeds=1)
    assert [r.mean for r in first.values()] == [r.mean for r in apart.values()]
    with monkeypatch.context() as patch:
        patch.setattr("mlvae.evaluation.questions.fidelity._train", None)
        _, second = reading(Copy("content"), digits, **options)
    assert [r.mean for r in first.values()] == [r.mean for r in second.values()]
    # Other data have another classifier.
    fewer = Splits(digits.train.subset(range(500)), test=digits.test)
    reading(Copy("content"), fewer, **options)
    assert len(list((tmp_path / "classifiers").iterdir())) == 2 and kept.is_file()


def test_models_and_splits_without_swaps_are_not_evaluated(digits):
    vae = VAE((1, 8, 8), latent_dim=2, network=MLP(hidden=(4,)))
    one = GroupedData(torch.rand(4, 1, 8, 8), [0] * 4)
    unseen = GroupedData(torch.rand(4, 1, 8, 8), [11] * 4)
    for model, splits in (
        (vae, digits),
        (Copy("content"), Splits(digits.train)),
        (Copy("content"), Splits(digits.train, test=unseen)),
        (Copy("content"), Splits(one, test=one)),
    ):
        answer, read = reading(model, splits)
        assert "Not evaluated" in answer.summary[0] and not read


class CopyOfTwo(Copy):
    """The left half of an image is the first content, the right half the second one."""

    grouping_of = {"content_left": "left", "content_right": "right"}  # noqa: RUF012
    group_codes = frozenset(grouping_of)

    def codes(self, batch):
        halves = [half.flatten(1) for half in batch.x.chunk(2, 3)]
        names = ("content_left", "content_right", "style")
        return {
            name: Point(x)
            for name, x in zip(names, [*halves, torch.zeros(len(batch), 1)], strict=True)
        }

    def decode(self, content_left, content_right, style):
        return torch.cat([x.view(-1, 1, 8, 8) for x in (content_left, content_right)], 3)


def test_with_several_contents_a_swap_takes_one_of_them(digits):
    def paired(data, seed):
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
        index = data.groups.index
        x = torch.cat((data.x, data.x[order]), 3)
        return GroupedData(x, groups={"left": index, "right": index[order]})

    splits = Splits(paired(digits.train, 0), test=paired(digits.test, 1))
    answer, _ = reading(CopyOfTwo("both", (1, 8, 16)), splits, seeds=1)
    read = {(r["grouping"], r["read"]): r["accuracy"].mean for r in answer.metrics["records"]}
    for name in ("left", "right"):
        assert read[name, "content"] > 0.8 and read[name, "style"] < 0.1
        assert read[name, "content"] == pytest.approx(read[name, "real"], abs=0.05)
    assert len(answer.summary) == 2 and answer.tables[0].columns[1:] == ["left", "right"]


def test_a_grouping_without_seen_groups_in_the_test_is_named(digits):
    def labelled(data, room):
        x = data.x.repeat(1, 1, 1, 2)
        return GroupedData(x, groups={"left": data.groups.index, "right": [room] * len(data)})

    splits = Splits(labelled(digits.train, "a"), test=labelled(digits.test, "b"))
    answer, _ = reading(CopyOfTwo("both", (1, 8, 16)), splits, seeds=1)
    assert {r["grouping"] for r in answer.metrics["records"]} == {"left"}
    assert "grouping right" in answer.summary[1]


def test_options_out_of_range_are_refused():
    with pytest.raises(InputError, match=r"evaluation\.fidelity\.swaps .*\b0$"):
        Fidelity(swaps=0)
