import pytest
import torch

from mlvae import Batch, GroupedData, InputError
from mlvae.data import Splits
from mlvae.data.splitting.splits import hold_out
from mlvae.evaluation import Subject, Unseen, principal_components

QUICK = {"shots": (1, 5), "galleries": 4, "pairs": 500}


def test_content_identifies_unseen_groups_and_style_does_not(known, known_data):
    splits = Splits(known_data(80, labels=2), unseen=known_data(120, seed=1))
    answer = Unseen(**QUICK).ask(Subject(known, splits))
    for record in answer.metrics["identification"]:
        if record["code"] == "content":
            assert record["accuracy"].mean > 0.99
        if record["code"] == "style":
            assert record["accuracy"].mean < 0.5
        assert record["chance"] == 0.25
    by_code = {(r["code"], r["distance"]): r for r in answer.metrics["verification"]}
    assert by_code["content", "cosine"]["auc"].mean > 0.99
    assert 0.4 < by_code["style", "cosine"]["auc"].mean < 0.6
    assert len(answer.tables) == 2 and answer.figures[0].name == "unseen"


def test_all_controls_are_in_the_table(digits_subject, digits):
    seen, unseen = hold_out(digits.train, [7, 8, 9])
    answer = Unseen(**QUICK).ask(Subject(digits_subject.model, Splits(seen, unseen=unseen)))
    codes = [row[0] for row in answer.tables[0].rows]
    assert codes == [
        "content",
        "style",
        "untrained encoder, content",
        "3 principal components",
        "raw pixels",
        "chance",
    ]


def test_large_groups_are_limited_to_some_of_their_members(known, known_data):
    splits = Splits(known_data(40), unseen=known_data(120))
    answer = Unseen(**QUICK, most_members=12).ask(Subject(known, splits))
    assert answer.metrics["num_observations"] == 4 * 12


def test_shots_that_groups_do_not_have_are_left_out(known, known_data):
    splits = Splits(known_data(40), unseen=known_data(16))  # four of each
    answer = Unseen(shots=(1, 5), galleries=2, pairs=9).ask(Subject(known, splits))
    assert {r["shots"] for r in answer.metrics["identification"]} == {1}
    alone = Splits(known_data(40), unseen=known_data(16, labels=1))
    answer = Unseen(**QUICK).ask(Subject(known, alone))
    assert "of 1 unseen groups, 1 have 2 observations" in answer.summary[0]
    assert answer.metrics == {}


def test_principal_components_are_those_of_the_data():
    # Variance 9, 4 and 1 along rotated axes: the first two components are known.
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(3, 3))[0]
    x = (torch.randn(5000, 3) * torch.tensor([3.0, 2.0, 1.0])) @ axes.T + 5
    code = principal_components(GroupedData(x, [0] * 5000), 2)(Batch.ungrouped(x)).mean
    expected = (x - x.mean(0)) @ axes[:, :2]
    assert code.shape == (5000, 2)
    assert (code.abs() - expected.abs()).abs().max() < 0.5
    assert code.var(0).tolist() == pytest.approx([9, 4], rel=0.1)


def test_without_unseen_groups_the_answer_has_the_option(known_subject):
    answer = Unseen().ask(known_subject)
    assert "dataset.unseen_groups" in answer.summary[0]
    for options in ({"shots": ()}, {"shots": (0,)}, {"distances": ("l1",)}, {"galleries": 1}):
        with pytest.raises(InputError, match=r"evaluation\.unseen"):
            Unseen(**options)


def test_chance_is_that_of_the_groups_that_have_enough_members(known, known_data):
    many, few = known_data(40, labels=4), known_data(44, labels=4, seed=1)
    unseen = few.subset([*range(0, 44, 4), *range(1, 44, 4), 2, 6, 3, 7])  # 11, 11, 2 and 2
    answer = Unseen(shots=(1, 5), galleries=2, pairs=50).ask(
        Subject(known, Splits(many, unseen=unseen))
    )
    rows = answer.tables[0].rows
    assert rows[-1][:3] == ["chance", "25.0", "50.0"]
    assert "4 at n = 1, 2 at n = 5" in answer.summary[1]


def test_each_grouping_has_its_own_unseen_groups(two, two_images):
    seen = [(i, j) for i in range(2) for j in range(2)]
    first = [(i, j) for i in (2, 3) for j in range(2)]  # new labels of the first grouping
    second = [(i, j) for i in range(2) for j in (2, 3)]
    pose = torch.rand(80, generator=torch.Generator().manual_seed(0))
    parts = [two_images(20 * pairs, pose) for pairs in (seen, first, second)]
    splits = Splits(parts[0], test=parts[2], unseen=parts[1])
    answer = Unseen(**QUICK).ask(Subject(two, splits))
    right = {
        (r["grouping"], r["code"]): r["accuracy"].mean
        for r in answer.metrics["identification"]
        if r["distance"] == "cosine" and r["shots"] == 5
    }
    assert right["first", "content_first"] == right["second", "content_second"] == 1
    assert right["first", "content_second"] < 0.7 and right["second", "content_first"] < 0.7
    assert answer.metrics["first"] == {"num_groups": 2, "num_observations": 80}
    assert len(answer.tables) == 4
    only = Splits(parts[0], test=parts[0])
    assert "unseen_groups" in Unseen(**QUICK).ask(Subject(two, only)).reason
