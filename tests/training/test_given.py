"""Given values reach the model on every path, and belong to the identity of the data."""

import pytest
import torch
from torch import nn

import mlvae
from mlvae import Adam, Batch, GroupedData, Groups, InputError, Reports, Speed
from mlvae.data import Grouped, GroupWarp, Shuffled, StoredImages
from mlvae.objectives import Objective
from mlvae.training.loop import training_step
from mlvae.training.speed.compiling import compiled
from mlvae.training.step import StepParts
from mlvae.training.sums import forward_of
from mlvae.training.validation import evaluate_bound


class Marked(nn.Module):
    """A model that needs a mask of the elements of x, and a number of each observation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(64, 64)
        self.needs = frozenset({"mask", "number"})
        self.seen = []

    def forward(self, batch, *, generator=None):
        x, mask = batch.x.flatten(1), batch.given["mask"].flatten(1)
        if not torch.compiler.is_compiling():
            self.seen.append((batch.given["number"].clone(), x.detach().clone(), mask.clone()))
        error = (mask * (self.layer(x * mask) - x)).square().sum(1)
        return Objective({"model": error.mean()}, {"error": error}, num_observations=len(error))


def data_of(n=45, masked=0.5, kind="memory", folder=None):
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(n, 1, 8, 8, generator=generator) * 255).to(torch.uint8)
    mask = (torch.rand(n, 1, 8, 8, generator=generator) > masked).float()
    given = {"mask": mask, "number": torch.arange(n)}
    if kind == "disk":
        (folder / "images.u8").write_bytes(x.numpy().tobytes())
        stored = StoredImages(folder / "images.u8", tuple(x.shape))
        return GroupedData(stored, [i % 3 for i in range(n)], given=given)
    return GroupedData(x, [i % 3 for i in range(n)], given=given)


def assert_seen(model, data, x, *, pixels=True):
    """Each batch that the model saw has the given values of its observations."""
    assert model.seen
    for number, observations, mask in model.seen:
        assert torch.equal(mask, data.given["mask"][number].flatten(1))
        if pixels:
            assert torch.equal(observations, x[number].flatten(1))


PATHS = [
    ("single steps", {}),
    ("blocks", {"speed": Speed(steps_per_graph=2)}),
    ("bfloat16", {"speed": Speed("bfloat16")}),
    ("augmented", {"augmentation": GroupWarp()}),
    ("groups", {"batching": Grouped(groups=2, members=7, small_groups="keep")}),
    ("disk", {}),
]


@pytest.mark.parametrize(("path", "options"), PATHS, ids=[path for path, _ in PATHS])
def test_given_values_reach_the_model_in_training_and_validation(tmp_path, path, options):
    data = data_of(kind=path, folder=tmp_path)
    x = data.observations(torch.arange(len(data)))
    model = Marked()
    mlvae.train(
        model,
        data,
        validation=data,
        run=tmp_path / "run",
        epochs=2,
        device="cpu",
        reports=Reports(progress=False, pictures_every=None),
        **{"batching": Shuffled(10), **options},
    )
    assert_seen(model, data, x, pixels=path != "augmented")
    numbers = torch.cat([number for number, *_ in model.seen])
    assert torch.equal(
        numbers.bincount(), torch.full((45,), 4)
    )  # trained and validated in two epochs


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_given_values_reach_a_compiled_model(backend):
    torch._dynamo.reset()
    model, data = Marked(), data_of()
    forward = compiled(model, backend=backend)
    for rows in (range(20), range(7, 45)):
        batch = data.batch(rows)
        ours, theirs = forward(batch), forward_of(model)(batch)
        torch.testing.assert_close(ours.totals, theirs.totals)
        assert ours.units == theirs.units
    other = Batch(batch.x, batch.groups, {**batch.given, "mask": 1 - batch.given["mask"]})
    assert not torch.isclose(forward(other).losses["model"], ours.losses["model"])


def test_a_step_of_a_batch_has_its_given_values():
    model, data = Marked(), data_of()
    parts = StepParts(model, Adam())
    training_step(parts, data.batch(range(4, 9)), torch.Generator())
    (number, _, mask), *_ = model.seen
    assert number.tolist() == [4, 5, 6, 7, 8]
    assert torch.equal(mask, data.given["mask"][4:9].flatten(1))


def test_batches_with_other_given_values_have_another_form():
    x, groups = torch.zeros(2, 3), Groups.of([0, 1])
    forms = {
        Batch(x, groups).form,
        Batch(x, groups, {"mask": torch.ones(2, 3)}).form,
        Batch(x, groups, {"mask": torch.ones(2, 3, dtype=torch.bool)}).form,
        Batch(x, groups, {"mask": torch.ones(2)}).form,
        Batch(x, groups, {"action": torch.ones(2)}).form,
    }
    assert len(forms) == 5


def test_evaluation_of_a_bound_uses_the_given_values():
    model, data, other = Marked(), data_of(), data_of(masked=0.9)
    losses = [evaluate_bound(model, d, Shuffled(10))["loss"] for d in (data, other)]
    assert losses[0] > 2 * losses[1]


def test_a_changed_given_value_is_other_data(tmp_path):
    options = {"run": tmp_path, "batching": Shuffled(10), "device": "cpu"}
    options["reports"] = Reports(progress=False, pictures_every=None)
    data = data_of()
    mlvae.train(Marked(), data, epochs=1, **options)
    changed = data_of()
    changed.given["mask"][3, 0, 2, 1] = 1 - changed.given["mask"][3, 0, 2, 1]
    assert changed.fingerprint() != data.fingerprint() == data_of().fingerprint()
    with pytest.raises(InputError, match=r"data.given.mask="):
        mlvae.train(Marked(), changed, epochs=2, resume=True, **options)
    mlvae.train(Marked(), data, epochs=2, resume=True, **options)


def test_permuted_labels_and_a_changed_element_are_other_data(tmp_path):
    # The sizes of the groups and the rows of a coarse sample stay the same.
    options = {"run": tmp_path, "batching": Shuffled(50), "device": "cpu", "epochs": 1}
    options["reports"] = Reports(progress=False)
    x, label = torch.rand(300, 5), torch.arange(300) % 3
    model = mlvae.models.VAE((5,), latent_dim=2)
    mlvae.train(model, GroupedData(x, label), **options)
    changed = x.clone()
    changed[2, 3] += 0.1
    for data, name in (
        (GroupedData(x, label.flip(0)), "labels"),
        (GroupedData(changed, label), "x"),
    ):
        with pytest.raises(InputError, match=rf"data\.\S*{name}="):
            mlvae.train(model, data, resume=True, **options)


@pytest.mark.parametrize("missing", ["mask", "number"])
@pytest.mark.parametrize("what", ["training", "validation"])
def test_data_without_a_needed_value_are_refused(tmp_path, missing, what):
    data, other = data_of(), data_of()
    del other.given[missing]
    sets = {"training": (other, data), "validation": (data, other)}[what]
    with pytest.raises(InputError, match=rf"{missing}, .*{what} data"):
        mlvae.train(Marked(), sets[0], validation=sets[1], run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
