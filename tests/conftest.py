"""What several tests share: small data, a small model, and the real data where there is some."""

import contextlib
import logging
import os
import signal
from pathlib import Path

import pytest
import torch

import mlvae
from mlvae.networks import MLP

torch.set_num_threads(1)  # the models here are too small to share between threads


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


@pytest.fixture(autouse=True)
def logging_handlers():
    """A command that runs within the tests' process leaves Hydra's handlers behind."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    root.handlers[:] = before
