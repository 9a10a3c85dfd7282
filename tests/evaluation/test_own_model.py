"""Models of a user's own, with forward, codes and decode alone, are asked every question."""

import json
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from mlvae import DiagonalGaussian, GroupedData, Objective
from mlvae.data import Splits
from mlvae.evaluation import (
    QUESTIONS,
    Codebook,
    Collapse,
    Composition,
    Counterfactual,
    Disentanglement,
    Documents,
    Embedding,
    Factors,
    Fidelity,
    Groups,
    Imputation,
    Leakage,
    Likelihood,
    Manipulation,
    Rollout,
    Separation,
    Subject,
    Topics,
    Unseen,
    evaluate,
)
from mlvae.grids import pictures
from mlvae.posteriors import Point

DIM = 3

ALL = [
    Separation(k=(1, 2), probes=("logistic",), seeds=1),
    Leakage(probes=("logistic",)),
    Unseen(shots=(1, 2), galleries=2, pairs=20),
    Factors(trees=2, most=20),
    Disentanglement(metrics=("mig",), seeds=1),
    Fidelity(epochs=1, swaps=10, seeds=1),
    Manipulation(groups=2, members=2, steps=2),
    Embedding(method="pca", points=10),
    Codebook(),
    Groups(samples=2, permutations=9),
    Imputation(),
    Counterfactual(),
    Likelihood(sizes=(1,), groups=2, num_content=(1,), num_style=1),
    Topics(),
    Documents(),
    Collapse(neighbours=(1,)),
    Rollout(),
    Composition(),
]
LIKELIHOOD = next(question for question in ALL if isinstance(question, Likelihood))


class Own(nn.Module):
    """A linear autoencoder whose only code is named ``code``."""

    def __init__(self, shape, code="z0"):
        super().__init__()
        self.code, self.size = code, shape
        number = torch.zeros(shape).numel()
        self.encoder, self.decoder = nn.Linear(number, DIM), nn.Linear(DIM, number)

    def codes(self, batch):
        mean = self.encoder(batch.x.flatten(1))
        return {self.code: DiagonalGaussian(mean, torch.full_like(mean, -2.0))}

    def decode(self, **codes):
        (z,) = codes.values()
        return self.decoder(z).view(-1, *self.size)

    def forward(self, batch, *, generator=None):
        (q,) = self.codes(batch).values()
        z = q.sample(generator=generator)
        error = (self.decoder(z).view_as(batch.x) - batch.x).square().flatten(1).sum(1)
        elbo = -error - q.kl()
        losses = {"model": -elbo.mean()}
        return Objective(losses, {"error": error}, len(batch), elbo=elbo.detach())


class Points(Own):
    """The same without uncertainty, and without a bound on the probability of observations."""

    def codes(self, batch):
        return {self.code: Point(self.encoder(batch.x.flatten(1)))}

    def forward(self, batch, *, generator=None):
        (q,) = self.codes(batch).values()
        decoded = self.decode(**{self.code: q.mean})
        error = (decoded - batch.x).square().flatten(1).sum(1)
        return Objective({"model": error.mean()}, {"error": error}, len(batch))


class TwoPoints(Points):
    """A content and a style, both points."""

    def codes(self, batch):
        z = self.encoder(batch.x.flatten(1))
        content = batch.groups.sum(z[:, :1]) / batch.groups.sizes[:, None]
        return {"content": Point(batch.groups.spread(content)), "style": Point(z[:, 1:])}

    def decode(self, content, style):
        return super().decode(z=torch.cat((content, style), 1))

    def forward(self, batch, *, generator=None):
        decoded = self.decode(**{name: q.mean for name, q in self.codes(batch).items()})
        error = (decoded - batch.x).square().flatten(1).sum(1)
        return Objective({"model": error.mean()}, {"error": error}, len(batch))


@dataclass(frozen=True)
class Case:
    """A model and the codes that evaluation must find."""

    model: type
    options: dict
    codes: tuple
    bound: bool


CASES = {
    "latent": Case(Own, {"code": "latent"}, ("latent",), True),
    "z0": Case(Own, {}, ("z0",), True),
    "point": Case(Points, {}, ("z0",), False),
    "content and style": Case(TwoPoints, {}, ("content", "style"), False),
}


@pytest.fixture(params=[(5,), (1, 8, 8)], ids=["vectors", "images"])
def splits(request):
    """Splits of random observations with two factors, and with groups of their own to test on."""

    def part(number, labels, seed):
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(number, *request.param, generator=generator)
        factors = {name: torch.rand(number, generator=generator) for name in ("light", "size")}
        label = torch.tensor(labels)[torch.arange(number) % len(labels)]
        return GroupedData(x, label, factors)

    seen, unseen = [0, 1, 2], [7, 8]
    return Splits(part(40, seen, 0), part(24, seen, 1), part(30, seen, 2), part(40, unseen, 3))


def test_the_questions_of_this_file_are_all_questions():
    assert tuple(type(question) for question in ALL) == QUESTIONS


#: Each model, each kind of observations, and both kinds with and without samples.
ANSWERED = [
    ("latent", (5,)),
    ("z0", (1, 8, 8)),
    ("point", (5,)),
    ("content and style", (1, 8, 8)),
]


@pytest.mark.parametrize(("name", "splits"), ANSWERED, indirect=["splits"], ids=str)
def test_every_question_has_an_answer(splits, name, tmp_path):
    case, shape = CASES[name], splits.train.shape
    model = case.model(shape, **case.options)
    metrics = evaluate(
        model, splits, tmp_path / "answers", questions=ALL, workers=1, progress=False
    )
    assert json.loads((tmp_path / "answers" / "metrics.json").read_text()) == metrics
    expected = {*case.codes, "raw"}
    assert {record["code"] for record in metrics["separation"]["records"]} == expected
    assert {record["code"] for record in metrics["factors"]["records"]} == expected
    assert {r["code"] for r in metrics["unseen"]["identification"]} == {*expected, "pca"}
    assert [record["code"] for record in metrics["disentanglement"]["records"]] == ["model"]
    assert bool(metrics["fidelity"]) == ("style" in case.codes)
    bound = metrics["likelihood"]["bound"]["test"]
    assert ("elbo_per_observation" in bound) == case.bound and "error_per_observation" in bound
    names = {path.stem for path in (tmp_path / "answers").glob("*.png")}
    assert {"embedding_test", "embedding_unseen", "separation_means", "unseen"} <= names
    assert "reconstructions_test" in names
    assert ("swaps_test" in names) == ("style" in case.codes)
    # A code of points has no prior, so nothing is sampled from it.
    assert ("generation_test" in names) == (case.model is Own)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_text_on_probes_names_the_codes_of_the_model(splits, case):
    model = case.model(splits.train.shape, **case.options)
    answer = ALL[0].ask(Subject(model, splits))
    for code in case.codes:
        assert any(f"from {code} codes" in text for text in answer.summary)
    rows = [row[0] for row in answer.tables[0].rows]
    random = case.model is Own
    values = [f"{code}, {v}" for code in case.codes for v in ("samples", "means")]
    assert rows[:-2] == (values if random else list(case.codes))


def test_a_model_without_a_bound_has_a_table_of_its_loss_and_terms(splits):
    answer = LIKELIHOOD.ask(Subject(Points(splits.train.shape), splits))
    assert "no bound" in answer.summary[0] and "no bound" in answer.tables[0].caption
    assert answer.tables[0].columns[:3] == ["split", "loss", "error per observation"]
    answer = LIKELIHOOD.ask(Subject(Own(splits.train.shape), splits))
    assert "no bound" not in answer.summary[0] and len(answer.tables) == 1


def test_pictures_of_training_are_reconstructions(splits):
    found = pictures(Own(splits.train.shape), splits.train)
    assert set(found) == {"reconstructions"}
    assert found["reconstructions"].images == (len(splits.train.shape) == 3)
