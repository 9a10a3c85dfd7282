"""The question on groups: distances, clusters and covariates of a model with known codes."""

import numpy as np
import pytest
import torch

import mlvae
from mlvae import GroupedData, InputError, Point, show
from mlvae.data import Splits
from mlvae.evaluation import Groups, Subject, evaluate


class Known(torch.nn.Module):
    """The content is the first two numbers of an observation, the style the last."""

    def __init__(self):
        super().__init__()
        self.parameter = torch.nn.Parameter(torch.zeros(()))

    def codes(self, batch):
        content = batch.groups.spread(
            batch.groups.sum(batch.x[:, :2]) / batch.groups.sizes[:, None]
        )
        return {"content": Point(content), "style": Point(batch.x[:, 2:])}

    def decode(self, content, style):
        return torch.cat((content, style), 1)


def data(groups, members=30, seed=0, offset=0):
    """Groups on a line, the covariate is the place, the style is noise."""
    noise = torch.Generator().manual_seed(seed)
    place = torch.arange(groups).double().repeat_interleave(members)
    x = torch.randn(len(place), 3, generator=noise)
    x[:, 0] += 3 * place
    labels = [f"g{offset + int(p):02d}" for p in place]
    return GroupedData(x, labels, factors={"place": place, "noise": torch.rand(len(place))})


@pytest.fixture
def subject():
    return Subject(Known().eval(), Splits(data(12), unseen=data(6, offset=20)))


def test_near_groups_are_near_and_the_place_is_associated(subject):
    answer = Groups(permutations=20, samples=5).ask(subject)
    metrics = answer.metrics
    assert metrics["split"] == "unseen" and metrics["members"] == 15
    distance = np.array(metrics["distance"])
    assert (distance.argsort(1)[1:-1, 1:3] - np.arange(1, 5)[:, None]).__abs__().max() == 1
    records = {record["code"]: record for record in metrics["records"]}
    assert records["content"]["nearest"] == 1.0 and records["style"]["nearest"] < 0.8
    assert records["content"]["within"] < 0.3 * records["content"]["between"]
    assert records["content"]["chance"] == pytest.approx(1 / 6)
    # Only the factor that is constant in each group is a covariate.
    associated = {(one["covariate"], one["code"]): one for one in metrics["association"]}
    assert {covariate for covariate, _ in associated} == {"place"}
    assert associated["place", "content"]["score"] > 0.95
    assert associated["place", "style"]["score"] < 0.5
    assert answer.figures[0].name == "groups" and len(answer.tables) == 3


def test_principal_components_are_of_the_units_of_the_model():
    model, one = Known().eval(), data(12)
    place, noise = one.factors["place"][:, None], 1e5 * one.x[:, 1:]
    x = torch.cat((one.x[:, :1], 3 * place + one.x[:, 1:2], noise), 1)  # large units are noise
    one = GroupedData(x, one.labels, factors={"place": place[:, 0]})
    model.standardise = mlvae.models.Standardise("feature", (4,))
    model.standardise.measure([x])
    answer = Groups(permutations=3, samples=2).ask(Subject(model, Splits(one, test=one)))
    scores = {each["code"]: each["score"] for each in answer.metrics["association"]}
    assert scores["2 principal components"] > 0.9


def test_sets_have_at_most_half_the_median_size():
    small = Subject(Known().eval(), Splits(data(12), test=data(3, members=5)))
    answer = Groups(samples=2).ask(small)
    assert answer.metrics["members"] == 2 and answer.metrics["split"] == "test"
    single = Subject(Known().eval(), Splits(data(12), test=data(3, members=1)))
    assert "two members" in Groups().ask(single).reason
    assert "test split" in Groups().ask(Subject(Known().eval(), Splits(data(12)))).reason


def test_a_subset_of_many_groups_is_stated(subject):
    answer = Groups(groups=3, samples=2, permutations=2).ask(subject)
    assert len(answer.metrics["groups"]) == 3 and "3 of 6" in answer.summary[0]


def test_distances_do_not_depend_on_the_order_of_observations(subject):
    unseen = subject.splits.unseen
    with pytest.raises(InputError, match=r"evaluation\.groups\.members"):
        Groups(members=0)
    first = Groups(members=15, samples=2, permutations=1).ask(subject).metrics["distance"]
    order = torch.randperm(len(unseen), generator=torch.Generator().manual_seed(3))
    mixed = Subject(subject.model, Splits(subject.splits.train, unseen=unseen.subset(order)))
    again = Groups(members=15, samples=2, permutations=1).ask(mixed).metrics["distance"]
    np.testing.assert_allclose(first, again, rtol=1e-4)  # all 30 members of each group


def test_a_trained_model_and_its_controls_are_reported(tmp_path):
    splits = Splits(data(12), test=data(12, seed=1))
    model = mlvae.models.MLVAE(
        (3,), content_dim=2, style_dim=1, likelihood=mlvae.likelihoods.Gaussian(),
        network=mlvae.networks.MLP(hidden=(8,)), standardise="feature",
    )  # fmt: skip
    reports = mlvae.Reports(progress=False)
    mlvae.train(model, splits.train, run=tmp_path / "run", epochs=2, reports=reports)
    questions = [Groups(samples=2, permutations=3)]
    metrics = evaluate(model, splits, tmp_path / "report", questions=questions, progress=False)
    codes = [record["code"] for record in metrics["groups"]["records"]]
    assert codes == ["content", "style", "untrained", "raw"]
    assert (tmp_path / "report" / "groups.png").is_file()
    assert "clusters" in (tmp_path / "report" / "report.html").read_text()


# The figure


def test_the_figure_joins_near_groups_and_names_them_once_on_each_axis():
    place = np.array([0.0, 10.0, 0.1, 10.2])
    figure = show.group_distances(np.abs(place[:, None] - place), ["a", "b", "c_", "$d"])
    names = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert sorted(names) == sorted([text.get_text() for text in figure.axes[1].get_xticklabels()])
    assert {frozenset(names[:2]), frozenset(names[2:])} in (
        {frozenset({"a", "c_"}), frozenset({"b", show.text.legible("$d")})},
    )
    assert figure.png().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("distances", "labels", "match"),
    [
        ([[0, 1], [2, 0]], None, "symmetric"),
        ([[0, -1], [-1, 0]], None, "at least 0"),
        ([[1, 1], [1, 1]], None, "diagonal"),
        ([[0]], None, "at least 2"),
        ([[0, 1, 2]], None, r"\(1, 3\)"),
        ("a", None, "numbers"),
        ([[0, 1], [1, 0]], ["a"], "labels .*2 .*1"),
    ],
)
def test_a_figure_of_no_distances_is_refused(distances, labels, match):
    with pytest.raises(InputError, match=match):
        show.group_distances(distances, labels)
    with pytest.raises(InputError, match=r"linkage .*'ward'"):
        show.group_distances([[0, 1], [1, 0]], linkage="ward")


def test_the_question_is_about_one_grouping_of_several(two, two_images):
    pairs = [(i, j) for i in range(3) for j in range(4)]
    data = two_images(10 * pairs, torch.rand(120, generator=torch.Generator().manual_seed(0)))
    subject = Subject(two, Splits(data, test=data))
    for grouping, code, other in (
        ("first", "content_first", "content_second"),
        ("second", "content_second", "content_first"),
    ):
        answer = Groups(grouping=grouping, samples=2, permutations=2).ask(subject)
        nearest = {r["code"]: r["nearest"] for r in answer.metrics["records"]}
        assert nearest[code] == 1 and nearest[other] < 1
        assert len(answer.metrics["groups"]) == len(data.groupings[grouping].names)
    with pytest.raises(InputError, match=r"evaluation\.groups\.grouping"):
        Groups(grouping="third").ask(subject)
