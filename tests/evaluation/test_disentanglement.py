import pytest
import torch

from mlvae import GroupedData, InputError
from mlvae.data import Splits
from mlvae.evaluation import Disentanglement, Subject
from mlvae.evaluation.measures.metrics import SCORES
from mlvae.models import VAE
from mlvae.networks import MLP


@pytest.fixture
def lit(known_data):
    """Images whose label is the content of the known model, with two factors in its style."""

    def build(n, seed=0):
        data = known_data(n, labels=2, seed=seed)
        factors = {"label": data.groups.index.float()}
        factors |= {name: data.x[:, 0, 1, i].clone() for i, name in enumerate(("light", "size"))}
        return GroupedData(data.x, data.groups.index, factors)

    return build


# Properties


def test_a_latent_with_one_dimension_per_factor_scores_high(known, lit):
    splits = Splits(lit(50), unseen=lit(600, seed=1))
    answer = Disentanglement(categories=("label",), seeds=2).ask(Subject(known, splits))
    (found,) = answer.metrics["records"]
    assert found["code"] == "model" and set(found) == {"code", *SCORES}
    means = {score: found[score].mean for score in SCORES}
    for score in ("disentanglement", "informativeness", "beta_vae"):
        assert means[score] > 0.95
    # Two of the four content dimensions are copies of the label, which has no gap: 2/3 remain.
    assert means["mig"] < 2 / 3 and means["sap"] == pytest.approx(2 / 3, abs=0.05)
    assert means["completeness"] < 0.9 < means["factor_vae"]
    assert answer.metrics["tested_on"] == "unseen"
    assert answer.metrics["factors"] == ["label", "light", "size"]


# Behaviour


def test_controls_are_scored_like_the_model(digits_subject, digits):
    test = digits.test
    brightness = test.observations(torch.arange(len(test))).flatten(1)
    factors = {"digit": test.groups.index, "light": brightness.mean(1), "top": brightness[:, 20]}
    data = GroupedData(test.x, test.groups.index, factors)
    subject = Subject(digits_subject.model, Splits(digits.train, None, data))
    question = Disentanglement(("digit",), metrics=("mig", "dci"), seeds=1, most=150)
    answer = question.ask(subject)
    assert [record["code"] for record in answer.metrics["records"]] == ["model", "untrained"]
    assert answer.metrics["num_observations"] == 150
    assert [figure.name for figure in answer.figures] == ["disentanglement", "importance"]
    assert all("<svg" in (figure.svg or "") for figure in answer.figures)
    assert all(figure.caption[-1] == "." for figure in answer.figures)
    assert answer.tables[0].columns[:3] == ["latent", "MIG", "DCI disentanglement"]
    assert len(answer.tables[0].rows) == 2
    again = question.ask(subject).metrics["records"]
    assert again[0]["mig"].mean == answer.metrics["records"][0]["mig"].mean


def test_observations_with_an_unknown_factor_are_left_out(known, lit):
    data = lit(200)
    data.factors["light"][:50] = float("nan")
    data.factors["never"] = torch.full((200,), float("nan"))
    data.factors["same"] = torch.ones(200)
    data.factors["name"] = torch.arange(200.0)
    question = Disentanglement(("label", "name"), metrics=("sap",))
    answer = question.ask(Subject(known, Splits(lit(50), None, data)))
    assert answer.metrics["num_observations"] == 150
    assert answer.metrics["factors"] == ["label", "light", "size"]


def test_a_single_factor_has_mig_and_sap_only(known, lit):
    data = lit(200)
    data.factors = {"light": data.factors["light"]}
    answer = Disentanglement().ask(Subject(known, Splits(lit(50), None, data)))
    assert set(answer.metrics["records"][0]) == {"code", "mig", "sap"}
    assert len(answer.summary) == 3 and "MIG and SAP" in answer.summary[-1]


def test_without_known_factors_the_answer_has_a_reason_only(known, known_subject, lit):
    few = Subject(known, Splits(lit(50), None, lit(19)))
    for subject in (known_subject, few):
        answer = Disentanglement().ask(subject)
        assert "known factors" in answer.summary[0] and not answer.metrics


def test_a_latent_of_one_dimension_is_not_evaluated(lit):
    model = VAE((1, 4, 4), latent_dim=1, network=MLP((4,))).eval()
    answer = Disentanglement().ask(Subject(model, Splits(lit(50), None, lit(50))))
    assert "latent" in answer.summary[0] and not answer.metrics


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categories": "label"}, "categories.* list.*'label'"),
        ({"metrics": ()}, "metrics.* empty"),
        ({"metrics": ("mug",)}, "metrics.* mig, sap.*'mug'"),
        ({"trees": "oak"}, "trees.* forest, boosting.*'oak'"),
        ({"bins": 1}, "bins.* 2, not 1"),
        ({"seeds": 0}, "seeds.* 1, not 0"),
        ({"most": 10}, "most.* 20, not 10"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(InputError, match=rf"evaluation\.disentanglement\.{message}"):
        Disentanglement(**options)
