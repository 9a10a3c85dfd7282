"""Grouped observations: where they come from, how they are split, how they are batched."""

from __future__ import annotations

from mlvae.data.arrays import arrays
from mlvae.data.batching import Grouped, Plan, Shuffled
from mlvae.data.digits import digits
from mlvae.data.grouped import GroupedData
from mlvae.data.mnist import fashion_mnist, mnist
from mlvae.data.splits import Splits, split
from mlvae.errors import check_choice

__all__ = [
    "BATCHINGS",
    "Grouped",
    "GroupedData",
    "Plan",
    "Shuffled",
    "Splits",
    "arrays",
    "digits",
    "fashion_mnist",
    "mnist",
    "open_dataset",
    "split",
]

BATCHINGS = (Shuffled, Grouped)
DATASETS = {"digits": digits, "mnist": mnist, "fashion_mnist": fashion_mnist, "arrays": arrays}


def open_dataset(name: str, **options: object) -> Splits:
    """The splits of the dataset called ``name``; ``options`` are its function's arguments."""
    check_choice("dataset.name", name, DATASETS)
    return DATASETS[name](**options)
