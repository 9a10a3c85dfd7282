"""New combinations, predicted by models with known codes."""

import pytest
import torch

from mlvae import DiagonalGaussian, InputError
from mlvae.data import Splits
from mlvae.evaluation import Composition, Subject
from mlvae.evaluation.measures.readers import fit_reader
from mlvae.models import ConditionalVAE
from mlvae.networks import MLP
from mlvae.training.seeding import seeded

QUICK = {"reader_steps": 150}
NEW = [(0, 3), (1, 2), (2, 0)]


def leaking(two):
    """The model ``two`` with the second label in the style, and without use of its content."""

    class Leaking(type(two)):
        def codes(self, batch):
            codes = super().codes(batch)
            style = torch.cat((codes["content_second"].mean, codes["style"].mean), 1)
            return codes | {"style": DiagonalGaussian(style, torch.full_like(style, -9.0))}

        def decode(self, content_first, content_second, style):
            return super().decode(content_first, style[:, :4], style[:, 4:])

    return Leaking()


@pytest.fixture
def splits(two_images):
    generator = torch.Generator().manual_seed(0)
    seen = [(i, j) for i in range(3) for j in range(4) if (i, j) not in NEW]
    train = two_images(20 * seen, torch.rand(20 * len(seen), generator=generator))
    poses = torch.rand(24, generator=generator)
    other = [(1, 0), (2, 1), (1, 3)]  # no label in common with the new combinations
    test = two_images(8 * NEW + 8 * other, torch.cat((poses, poses)))
    return Splits(train, test=test)


def records(model, splits, **options):
    answer = Composition(**QUICK | options).ask(Subject(model, splits))
    return answer, {record["prediction"]: record for record in answer.metrics["records"]}


def test_a_model_with_separate_contents_predicts_new_combinations_exactly(two, splits):
    answer, found = records(two, splits)
    assert answer.metrics["combinations"] == 3 and answer.metrics["observations"] == 12
    for style in ("own", "twin"):
        record = found[f"contents_{style}"]
        assert record["error"] < 1e-6
        assert record["read_first"] == record["read_second"] == 1
    assert found["contents_average"]["error"] > 0.1  # the pose is wrong
    assert found["contents_average"]["read_first"] == 1
    assert answer.metrics["chance"] == {"first": 1 / 3, "second": 1 / 4}
    assert len(answer.tables[0].rows) == len(found) + 1
    assert answer.figures[0].name == "composition"


def test_a_style_with_the_label_is_found_by_the_twins(two, splits):
    found = records(leaking(two), splits)[1]
    assert found["contents_own"]["read_second"] == 1
    assert found["contents_twin"]["read_second"] < 0.2
    assert found["contents_twin"]["read_first"] == 1


def test_the_controls_have_the_label_that_they_keep(two, splits):
    found = records(two, splits)[1]
    for kind in ("combination", "observation"):
        for kept, other in (("first", "second"), ("second", "first")):
            record = found[f"nearest_{kind}_{kept}"]
            assert record[f"read_{kept}"] == 1 and record[f"read_{other}"] == 0
            assert record["error"] > 1.9  # two elements of a label are wrong
    # The images are additive except for their pose, whose mean is about a half.
    assert found["additive"]["read_first"] == found["additive"]["read_second"] == 1
    assert found["additive"]["error"] == pytest.approx(8 / 12, rel=0.5)
    assert found["observation"]["error"] == 0 and found["observation"]["read_first"] == 1


def test_a_question_without_new_combinations_has_a_reason(two, splits, known, known_data):
    seen = Splits(splits.train, test=splits.train)
    assert "held_pairs" in Composition().ask(Subject(two, seen)).reason
    assert "no test split" in Composition().ask(Subject(two, Splits(splits.train))).reason
    one = Splits(known_data(40), test=known_data(40))
    assert "one grouping" in Composition().ask(Subject(known, one)).reason


def test_wrong_options_are_refused():
    for options in ({"observations": 0}, {"reader_steps": 0}, {"controls": ["vae"]}):
        with pytest.raises(InputError, match=r"evaluation\.composition"):
            Composition(**options)


def test_a_reader_learns_labels_and_learns_nothing_from_shuffled_ones():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 4
    x = torch.rand(400, 1, 8, 8, generator=generator)
    x[torch.arange(400), 0, y] += 1
    labels = torch.stack((y, (y > 1).long()), 1)
    labels[::7, 1] = -1  # a missing label
    reader = fit_reader(x[:300], labels[:300], [4, 2], steps=80)
    right = reader.read(x[300:]) == torch.stack((y, (y > 1).long()), 1)[300:]
    assert right.double().mean(0).min() > 0.95
    shuffled = labels[:300][torch.randperm(300, generator=generator)]
    reader = fit_reader(x[:300], shuffled, [4, 2], steps=80)
    assert (reader.read(x[300:])[:, 0] == y[300:]).double().mean() < 0.45


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_reader_on_a_cuda_device_depends_on_its_seed_alone():
    x, labels = torch.rand(64, 6, device="cuda"), torch.arange(64, device="cuda")[:, None] % 3
    found = []
    for state in (1, 2):
        torch.cuda.manual_seed(state)
        reader = fit_reader(x, labels, [3], steps=20)
        found.append(torch.cat([p.flatten() for p in reader.parameters()]))
    torch.testing.assert_close(*found)


def test_a_model_with_the_labels_is_a_control_that_looks_its_contents_up(two, splits):
    torch.manual_seed(0)
    names = {name: each.names for name, each in splits.train.groupings.items()}
    control = ConditionalVAE(
        (1, 4, 4),
        group_names=names,
        content_dim={"first": 4, "second": 4},
        style_dim=2,
        network=MLP(hidden=(8,)),
    ).eval()
    subject = Subject(two, splits, others={"conditional": control})
    answer = Composition(**QUICK).ask(subject)
    found = {record["prediction"]: record for record in answer.metrics["records"]}
    data = splits.test.labelled(names)
    new = [i for i, pair in enumerate(_pairs(data)) if pair in NEW]
    rows = torch.tensor(new)[torch.randperm(24, generator=_generator())[12:].sort().values]
    with torch.no_grad():
        predicted = control.reconstruct(data.singles(rows))
    error = ((predicted - data.x[rows]) ** 2).flatten(1).sum(1).mean()
    assert found["conditional_own"]["error"] == pytest.approx(float(error), rel=1e-5)
    assert found["conditional_twin"]["number"] == 12


def _pairs(data):
    return list(zip(*(each.labels.tolist() for each in data.groupings.values()), strict=True))


def _generator():
    return seeded(torch.Generator(), 0, "new combinations")
