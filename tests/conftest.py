"""What several tests share: small data, a small model, and the real data where there is some."""

import os

# The models here are too small to share between threads. pytest -n starts a process for each
# core, and threads beyond the cores wait for each other. The processes that tests start have the
# same limit. NumPy, scikit-learn and PyTorch read it when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import contextlib
import copy
import gc
import logging
import signal
from pathlib import Path
from types import SimpleNamespace

import coverage
import omegaconf
import pytest
import torch
import yaml

import mlvae
from mlvae.networks import MLP

torch.set_num_threads(1)


def pytest_collection_finish():
    """Collect garbage more rarely, and never in modules and tests, which are a million objects."""
    gc.freeze()
    gc.set_threshold(10_000)


#: Successive cases of a test without a new line, by the test.
REPEATED = {}

#: Such cases after which further cases of a test are not traced.
ENOUGH = 2


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Trace no further cases of a test that reach no new lines, because tracing is slow.

    So the report of coverage has no more lines than were run. It can miss a line that only a late
    case reaches.
    """
    if coverage.Coverage.current() is None or not hasattr(item, "callspec"):
        return (yield)
    test = item.nodeid.partition("[")[0]
    if REPEATED.get(test, 0) >= ENOUGH:
        item.add_marker("no_cover")  # pytest-cov pauses
        return (yield)
    before = traced_lines()
    result = yield
    REPEATED[test] = REPEATED.get(test, 0) + 1 if traced_lines() == before else 0
    return result


def traced_lines():
    """The number of lines that were traced so far."""
    return sum(map(len, coverage.Coverage.current()._collector.data.values()))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_root():
    """Folder with real collections, named by MLVAE_DATA."""
    if not (root := os.environ.get("MLVAE_DATA")):
        pytest.skip("MLVAE_DATA does not name a folder with real data")
    return Path(root).absolute()


@pytest.fixture(scope="session")
def digits():
    return mlvae.data.digits()


@pytest.fixture
def small_model():
    """Builds the same small model for 8x8 digits at every call."""

    def build(**options):
        torch.manual_seed(0)
        options = {"content_dim": 3, "style_dim": 2, "network": MLP(hidden=(16,))} | options
        return mlvae.models.MLVAE((1, 8, 8), **options)

    return build


@pytest.fixture
def time_limit():
    """``with time_limit(seconds):`` fails what hangs, instead of waiting for it."""

    def fail(*_):
        raise TimeoutError("the time limit of the test has passed")

    @contextlib.contextmanager
    def limit(seconds):
        before = signal.signal(signal.SIGALRM, fail)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return limit


@pytest.fixture(autouse=True, scope="session")
def yaml_files():
    """OmegaConf parses a text once: Hydra reads 20 files anew at every composition."""
    known = {}

    def load(file, Loader):
        text = file if isinstance(file, str) else file.read()
        if text not in known:
            if text is not file:
                file.seek(0)  # an error then names the file
            known[text] = yaml.load(file, Loader=Loader)
        return copy.deepcopy(known[text])

    with pytest.MonkeyPatch.context() as patch:
        other = SimpleNamespace(**vars(yaml) | {"load": load})
        patch.setattr(omegaconf.omegaconf, "yaml", other)
        yield


@pytest.fixture(autouse=True)
def logging_handlers():
    """A command that runs within the tests' process leaves Hydra's handlers behind."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    root.handlers[:] = before
