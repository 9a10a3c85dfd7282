"""Sparse matrices as observations: the same batches as dense ones, in bounded memory."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse
import torch

import mlvae
from mlvae import GroupedData, InputError
from mlvae.data import SourceRows, SparseRows
from mlvae.likelihoods import Gaussian, NegativeBinomial, Poisson

LABELS = np.arange(40) % 6
DENSE = np.random.default_rng(0).poisson(0.3, (40, 9)).astype(np.float32)
QUIET = mlvae.Reports(progress=False)

#: A sparse matrix of each format from a dense array.
FORMATS = {
    **{name: getattr(scipy.sparse, f"{name}_matrix") for name in ("csr", "csc", "coo", "lil")},
    **{f"{name}_array": getattr(scipy.sparse, f"{name}_array") for name in ("csr", "csc", "dok")},
    "int64": lambda x: scipy.sparse.csr_array(x.astype(np.int64)),
    "uint8": lambda x: scipy.sparse.csr_array(x.astype(np.uint8)),
    "float64": lambda x: scipy.sparse.csr_array(x.astype(np.float64)),
    "torch coo": lambda x: torch.from_numpy(x).to_sparse(),
    "torch csr": lambda x: _csr(x),
}


def _csr(x):
    matrix = scipy.sparse.csr_array(x)
    parts = (matrix.indptr, matrix.indices, matrix.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch says once that the format is new
        return torch.sparse_csr_tensor(*map(torch.from_numpy, parts), size=x.shape)


@pytest.fixture(params=FORMATS)
def sparse(request):
    """A function from a dense array to a sparse matrix."""
    return FORMATS[request.param]


def test_batches_are_those_of_the_dense_matrix(sparse):
    data, dense = GroupedData(sparse(DENSE), LABELS), GroupedData(DENSE, LABELS)
    assert isinstance(data.x, SourceRows) and isinstance(data.x.source, SparseRows)
    assert data.shape == (9,) and len(data) == 40
    for call in (
        lambda data: data.singles([3, 1, 3, 39]),
        lambda data: data.batch(),
        lambda data: data.subset(np.arange(40) % 2 == 0).batch([5, 2]),
    ):
        batch, expected = call(data), call(dense)
        assert batch.x.dtype == torch.float32
        assert torch.equal(batch.x, expected.x)
        assert torch.equal(batch.groups.index, expected.groups.index)


def test_repeated_entries_are_added_up():
    places = (np.array([0, 0, 1]), np.array([1, 1, 0]))
    matrix = scipy.sparse.coo_array((np.array([1.0, 2.0, 5.0]), places), (2, 2))
    assert GroupedData(matrix, [0, 1]).batch().x.tolist() == [[0.0, 3.0], [5.0, 0.0]]


def test_a_training_on_a_sparse_matrix_is_that_on_the_dense_one(tmp_path):
    states = []
    for name, x in (("sparse", scipy.sparse.csr_array(DENSE)), ("dense", DENSE)):
        torch.manual_seed(0)
        model = mlvae.models.MLVAE(
            (9,), likelihood=NegativeBinomial(), network=mlvae.networks.MLP(hidden=(8,))
        )
        data = GroupedData(x, LABELS)
        batching = mlvae.data.Shuffled(16)
        mlvae.train(model, data, run=tmp_path / name, epochs=3, batching=batching, reports=QUIET)
        states.append(model.state_dict())
    for name, values in states[0].items():
        torch.testing.assert_close(values, states[1][name], msg=name)


# Bad input


@pytest.mark.parametrize(
    ("matrix", "match"),
    [
        (scipy.sparse.csr_array(DENSE > 1), r"bool \(sparse\)"),
        (scipy.sparse.csr_array(DENSE * 1j), r"complex64 \(sparse\)"),
        (scipy.sparse.coo_array(DENSE[0]), r"\(N, D\).*\(9,\)"),
        (torch.zeros(2, 3, 4).to_sparse(), r"\(N, D\).*\(2, 3, 4\)"),
        (scipy.sparse.csr_array((0, 3)), r"\(0, 3\)"),
    ],
)
def test_a_matrix_of_another_kind_is_refused(matrix, match):
    with pytest.raises(InputError, match=match):
        GroupedData(matrix, [0, 1])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_numbers_that_are_not_finite_are_refused_with_their_row(value):
    x = scipy.sparse.lil_array((5, 4))
    x[0, 1], x[3, 2] = 1.0, value
    with pytest.raises(InputError, match=r"finite .*observation 3"):
        GroupedData(x, np.arange(5) % 2)


def test_integers_that_float32_lacks_are_refused():
    x = scipy.sparse.csr_array(np.array([[0, 1], [2**24 + 1, 0]]))
    with pytest.raises(InputError, match="16777217"):
        GroupedData(x, [0, 1])


@pytest.mark.parametrize("value", [0.5, -1.0])
def test_a_training_refuses_stored_values_that_are_no_counts(value, tmp_path):
    x = scipy.sparse.lil_array(DENSE)
    x[31, 7] = value
    data = GroupedData(x, LABELS)
    network = mlvae.networks.MLP(hidden=(8,))
    model = mlvae.models.MLVAE((9,), likelihood=Poisson(), network=network)
    with pytest.raises(InputError, match=rf"column 7 of observation 31 has {value:g}"):
        mlvae.train(model, data, run=tmp_path / "run", reports=QUIET)
    # Only the rows of the data matter.
    part = data.subset([30, 31, 32])
    with pytest.raises(InputError, match=rf"column 7 of observation 1 has {value:g}"):
        mlvae.train(model, part, run=tmp_path / "run", reports=QUIET)
    mlvae.train(model, data.subset(slice(30)), run=tmp_path / "run", epochs=1, reports=QUIET)
    model = mlvae.models.MLVAE((9,), likelihood=Gaussian(), network=network)
    mlvae.train(model, data, run=tmp_path / "real", epochs=1, reports=QUIET)


def test_sizes_of_sparse_counts_are_checked(tmp_path):
    size = np.ones(40)
    size[17] = 0
    data = GroupedData(scipy.sparse.csr_array(DENSE), LABELS, given={"size": size})
    model = mlvae.models.MLVAE((9,), likelihood=Poisson(link="exp"))
    with pytest.raises(InputError, match=r"size .* 0"):
        mlvae.train(model, data, run=tmp_path / "run", reports=QUIET)


def test_other_callers_refuse_sparse_matrices_in_one_line():
    with pytest.raises(InputError, match="toarray"):
        mlvae.Batch.ungrouped(scipy.sparse.csr_array(DENSE))
    with pytest.raises(InputError, match=r"sparse.*\[\[1.0\]\]"):
        SparseRows([[1.0]])


# Memory

#: Trains some steps on N x 5,000 sparse counts and prints how the largest memory grew, in MB.
PROGRAM = """
import re, sys
import numpy as np, scipy.sparse, mlvae
from mlvae.training import checkpoint, loop, monitor  # their imports take memory, too

def largest():  # ru_maxrss would begin at that of the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024

class Enough(Exception):
    pass

def stop(step, values):
    raise Enough

number, stored = int(sys.argv[1]), int(sys.argv[2])
random = np.random.default_rng(0)
columns = random.integers(0, 5000 // stored, (number, stored), dtype=np.int32)
columns += np.arange(stored, dtype=np.int32) * (5000 // stored)
counts = random.integers(1, 9, number * stored, dtype=np.int32)
rows = np.arange(number + 1) * stored
matrix = scipy.sparse.csr_array((counts, columns.ravel(), rows), (number, 5000))
before = largest()
data = mlvae.GroupedData(matrix, np.arange(number) % 1000)
model = mlvae.models.MLVAE(
    data.shape,
    likelihood=mlvae.likelihoods.NegativeBinomial(),
    network=mlvae.networks.MLP(hidden=(32,)),
)
try:
    mlvae.train(
        model,
        mlvae.data.split(data, validation=500).train,
        run=sys.argv[3],
        epochs=1,
        batching=mlvae.data.Shuffled(128),
        reports=mlvae.Reports(progress=False, log_every=4),
        on_report=stop,
    )
except Enough:
    print(before, largest() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/status is of Linux")
def test_the_memory_of_a_training_is_far_below_that_of_the_dense_matrix(tmp_path):
    # Dense, 100,000 x 5,000 float32 are 2,000 MB. Starting Python and PyTorch takes most seconds.
    arguments = [sys.executable, "-c", PROGRAM, "100000", "25", str(tmp_path / "run")]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    _, grown = map(float, output.split())
    assert 0 < grown < 600
