"""Sources: an object with six members serves as x; bad ones are refused with one line."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch

import mlvae
from mlvae.data import ArrayFile, Grouped, GroupedData, Shuffled, Source, SourceRows
from mlvae.errors import InputError

QUIET = mlvae.Reports(progress=False)
LABELS = np.arange(30) % 7


class InMemory:
    """The smallest source."""

    def __init__(self, x):
        self.x = x

    shape = property(lambda self: self.x.shape)
    dtype = property(lambda self: self.x.dtype)

    def __len__(self):
        return len(self.x)

    def __repr__(self):
        return "InMemory()"

    def index_select(self, dim, indices, *, pin=False):
        return self.x.index_select(dim, indices)

    def expect(self, indices):
        pass

    def to(self, device):
        return self


def signals():
    return torch.randn(30, 3, 16, generator=torch.Generator().manual_seed(0))


def images():
    return torch.randint(0, 256, (30, 1, 4, 5), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture(params=["npy", "npz", "h5", "zarr", "own"])
def source(request, tmp_path):
    """A function from a tensor to a source that has it."""

    number = itertools.count()

    def make(x):
        path = tmp_path / f"{next(number)}.{request.param}"
        match request.param:
            case "own":
                return InMemory(x)
            case "npy":
                np.save(path, x.numpy())
            case "npz":
                np.savez(path, group=np.arange(3), x=x.numpy())
            case "h5":
                h5py = pytest.importorskip("h5py")
                with h5py.File(path, "w") as file:
                    file.create_dataset("a/x", data=x.numpy(), chunks=True, compression="gzip")
            case "zarr":
                zarr = pytest.importorskip("zarr")
                zarr.create_array(str(path), data=x.numpy(), chunks=(4, *x.shape[1:]))
        return ArrayFile(path, "x" if request.param == "npz" else None)

    return make


@pytest.mark.parametrize("x", [signals(), images()], ids=["float32", "uint8"])
def test_rows_equal_those_of_a_tensor(source, x):
    rows = SourceRows(source(x))
    assert isinstance(rows, Source) and rows.shape == x.shape and rows.dtype == x.dtype
    for numbers in ([3, 0, 29, 3], [-1, 4], [7]):
        numbers = torch.tensor(numbers)
        assert torch.equal(rows.index_select(0, numbers), x[numbers])
        assert torch.equal(rows[numbers][:1].index_select(0, torch.tensor([0])), x[numbers[:1]])
    np.testing.assert_array_equal(np.asarray(rows[5:9]), x[5:9].numpy())


@pytest.mark.parametrize("batching", [Shuffled(8), Grouped(3, 2, "keep")], ids=repr)
def test_batches_of_a_source_equal_batches_from_memory(source, batching):
    for x in (signals(), images()):
        plans = [
            batching.plan(GroupedData(each, LABELS), torch.Generator().manual_seed(3))
            for each in (x, source(x))
        ]
        for a, b in zip(*plans, strict=True):
            assert torch.equal(a.x, b.x) and torch.equal(a.groups.index, b.groups.index)


def test_subsets_and_splits_of_a_source_equal_those_from_memory(source):
    x = signals()
    for a, b in zip(
        *(
            mlvae.data.split(GroupedData(each, LABELS), validation=5, test=4, unseen_groups=[3])
            for each in (x, source(x))
        ),
        strict=True,
    ):
        assert a[0] == b[0] and torch.equal(a[1].batch().x, b[1].batch().x)
        assert torch.equal(a[1].subset([2, 0]).batch().x, b[1].subset([2, 0]).batch().x)


def model_of(x):
    torch.manual_seed(0)
    return mlvae.models.MLVAE(
        tuple(x.shape[1:]),
        network=mlvae.networks.MLP(hidden=(8,)),
        likelihood=mlvae.likelihoods.LearnedGaussian(),
    )


@pytest.mark.parametrize("source", ["h5"], indirect=True)
def test_training_resume_and_codes_of_a_source_equal_those_from_memory(source, tmp_path):
    x, found = signals(), []
    for name, each in (("memory", x), ("source", source(x))):
        data, options = GroupedData(each, LABELS), {"reports": QUIET, "device": "cpu"}
        options |= {"batching": Shuffled(10), "run": tmp_path / name, "validation": data}
        model = model_of(x)
        mlvae.train(model, data, epochs=1, **options)
        mlvae.train(model, data, epochs=2, resume=True, **options)
        q = model.infer_content(data.x)
        found.append([*model.state_dict().values(), q.mean])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("source", ["zarr"], indirect=True)
def test_evaluation_of_a_source_equals_that_from_memory(source, tmp_path):
    x, metrics = signals(), []
    for name, each in (("memory", x), ("source", source(x))):
        data = GroupedData(each, LABELS)
        splits = mlvae.data.Splits(data.subset(LABELS < 5), unseen=data.subset(LABELS >= 5))
        questions = [mlvae.evaluation.Unseen(), mlvae.evaluation.Likelihood()]
        options = {"questions": questions, "progress": False, "workers": 1}
        metrics.append(
            mlvae.evaluation.evaluate(model_of(x).eval(), splits, tmp_path / name, **options)
        )
    assert metrics[0] == metrics[1]


def test_copies_read_the_same_rows(source):
    x = signals()
    rows = SourceRows(source(x))[torch.tensor([4, 2])]
    for again in (pickle.loads(pickle.dumps(rows)), copy.deepcopy(rows)):
        assert torch.equal(again.index_select(0, torch.tensor([1])), x[2:3])


def test_a_source_moves_to_a_device_if_it_fits_and_a_subset_too(monkeypatch, tmp_path):
    np.save(tmp_path / "x.npy", signals().numpy())
    data = SourceRows(ArrayFile(tmp_path / "x.npy"))
    for free, moved in ((2 * 4 * 30 * 48 - 1, False), (2 * 4 * 30 * 48, True)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 2**40))
        assert isinstance(data.to("meta"), torch.Tensor) == moved
        assert isinstance(data[:15].to("meta"), torch.Tensor)  # half the bytes
    assert data.to("cpu") is data


# Bad input


class Wrong(InMemory):
    def __init__(self, x, **members):
        self.x, self.members = x, members

    shape = property(lambda self: self.members.get("shape", self.x.shape))
    dtype = property(lambda self: self.members.get("dtype", self.x.dtype))

    def index_select(self, dim, indices, **options):
        return self.members.get("read", self.x.index_select)(dim, indices)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"shape": (30,)}, r"Wrong .*\(30,\)"),
        ({"shape": (29, 3, 16)}, r"N = 30.*\(29, 3, 16\)"),
        ({"shape": None}, r"shape .*None"),
        ({"dtype": torch.float64}, r"dtype .*float64"),
        ({"dtype": torch.uint8}, r"torch\.uint8 .*\(2, 3, 16\).*float32"),
        ({"shape": (30, 3, 17)}, r"\(2, 3, 17\).*\(2, 3, 16\)"),
        ({"read": lambda dim, i: np.zeros((2, 3, 16))}, r"a ndarray"),
        ({"read": lambda i: None}, r"index_select\(dim, indices, \*, pin=False\)"),
    ],
)
def test_a_source_that_gives_something_else_than_stated_is_refused(members, message):
    with pytest.raises(InputError, match=message):
        GroupedData(Wrong(signals(), **members), LABELS)


def test_an_observation_that_is_not_finite_is_named_when_it_is_read(source):
    x = signals()
    x[17, 2, 3] = torch.inf
    data = GroupedData(source(x), LABELS).subset(range(10, 25))
    assert data.batch(range(7)).x.shape == (7, 3, 16)
    with pytest.raises(InputError, match=r"row 17 "):
        data.batch([1, 7])


@pytest.mark.parametrize("source", ["npy"], indirect=True)
def test_a_likelihood_that_does_not_take_the_values_of_a_source_is_refused(source, tmp_path):
    data = GroupedData(source(signals()), LABELS)
    with pytest.raises(InputError, match=r"Bernoulli .*\[0, 1\]"):
        mlvae.train(mlvae.models.MLVAE((3, 16)), data, epochs=1, run=tmp_path, reports=QUIET)


def test_a_class_of_sources_is_no_source_and_no_gradient_is_kept():
    with pytest.raises(InputError, match="x must be"):
        GroupedData(InMemory, LABELS)
    x = signals().requires_grad_()
    rows = SourceRows(Wrong(x))
    assert not rows.index_select(0, torch.tensor([1])).requires_grad


def test_an_array_of_strings_is_no_source_and_labels_must_have_its_length(source):
    with pytest.raises(InputError, match=r"30 observations, not 29"):
        GroupedData(source(signals()), LABELS[1:])
    with pytest.raises(InputError, match=r"\(N, channels, height, width\).*\(30, 3, 16\)"):
        GroupedData(source(signals()), LABELS, kind="image")
