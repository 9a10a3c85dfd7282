import pytest
import torch

from mlvae import GroupedData, InputError
from mlvae.data import Shuffled, Splits
from mlvae.evaluation import Likelihood, Subject
from mlvae.likelihoods import Gaussian
from mlvae.models import MLVAE, VAE
from mlvae.networks import MLP
from mlvae.training import evaluate_bound

QUICK = {"sizes": (1, 4), "groups": 20, "num_content": (1, 20), "num_style": 4}


def test_the_bound_of_every_split_is_that_of_training(digits_subject, digits):
    answer = Likelihood(**QUICK).ask(digits_subject)
    assert list(answer.metrics["bound"]) == ["train", "validation", "test"]
    expected = evaluate_bound(digits_subject.model, digits.test, Shuffled(), seed=0)
    assert answer.metrics["bound"]["test"] == expected


def test_more_draws_tighten_the_bound_of_the_model_and_of_the_vae(digits_subject, digits):
    vae = VAE((1, 8, 8), latent_dim=5, network=MLP(hidden=(16,))).eval()
    subject = Subject(digits_subject.model, digits, vae=vae)
    records = Likelihood(**QUICK).ask(subject).metrics["importance_weighted"]
    bound = {
        (r["model"], r["group_size"], r["num_content"]): r["bound_per_observation"].mean
        for r in records
    }
    assert len(bound) == 2 * 2 * 2
    for model in ("MLVAE", "plain VAE"):
        for size in (1, 4):
            assert bound[model, size, 20] > bound[model, size, 1]


def test_sizes_that_no_group_has_are_left_out(digits_subject):
    records = Likelihood(**QUICK | {"sizes": (4, 100)}).ask(digits_subject).metrics
    assert {r["group_size"] for r in records["importance_weighted"]} == {4}


def test_arrays_of_the_shape_of_images_may_leave_the_scale_of_images():
    data = GroupedData(2 * torch.rand(12, 1, 8, 8) - 0.5, [0, 1, 2] * 4, kind="array")
    model = MLVAE((1, 8, 8), network=MLP((4,)), likelihood=Gaussian()).eval()
    records = Likelihood(**QUICK).ask(Subject(model, Splits(data, test=data))).metrics
    assert {r["group_size"] for r in records["importance_weighted"]} == {1, 4}


def test_images_of_bytes_have_the_bound_of_the_same_images_as_floats():
    x = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8)
    model = MLVAE((1, 8, 8), network=MLP((4,))).eval()
    subjects = [
        Subject(model, Splits(data, test=data))
        for data in (GroupedData(x, [0, 1, 2] * 4), GroupedData(x / 255, [0, 1, 2] * 4))
    ]
    first, second = (
        [
            record["bound_per_observation"].mean
            for record in Likelihood(**QUICK).ask(subject).metrics["importance_weighted"]
        ]
        for subject in subjects
    )
    assert first == pytest.approx(second)


def test_options_out_of_range_are_refused():
    for options in ({"sizes": ()}, {"num_content": (0,)}, {"groups": 1}, {"num_style": 0}):
        with pytest.raises(InputError, match=r"evaluation\.likelihood"):
            Likelihood(**options)
