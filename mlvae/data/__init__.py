"""Grouped observations: where they come from, how they are split, how they are batched."""

from __future__ import annotations

from inspect import signature

from mlvae.data.augmentation import GroupWarp
from mlvae.data.batching import Grouped, Plan, Shuffled
from mlvae.data.collections.stored import StoredImages
from mlvae.data.grouped import GroupedData
from mlvae.data.sources.arrays import arrays
from mlvae.data.sources.digits import digits
from mlvae.data.sources.faces import celeba, faces, lfw, omniglot, yale_b
from mlvae.data.sources.glyphs import glyphs
from mlvae.data.sources.mnist import fashion_mnist, mnist
from mlvae.data.sources.sprite_pairs import sprite_pairs
from mlvae.data.sources.sprites import sprites
from mlvae.data.splits import Splits, split
from mlvae.errors import check_choice

__all__ = [
    "AUGMENTATIONS",
    "BATCHINGS",
    "GroupWarp",
    "Grouped",
    "GroupedData",
    "Plan",
    "Shuffled",
    "Splits",
    "StoredImages",
    "arrays",
    "celeba",
    "digits",
    "faces",
    "fashion_mnist",
    "glyphs",
    "lfw",
    "mnist",
    "omniglot",
    "open_dataset",
    "split",
    "sprite_pairs",
    "sprites",
    "yale_b",
]

AUGMENTATIONS = (GroupWarp,)
BATCHINGS = (Shuffled, Grouped)
DATASETS = {
    "arrays": arrays,
    "celeba": celeba,
    "digits": digits,
    "faces": faces,
    "fashion_mnist": fashion_mnist,
    "glyphs": glyphs,
    "lfw": lfw,
    "mnist": mnist,
    "omniglot": omniglot,
    "sprite_pairs": sprite_pairs,
    "sprites": sprites,
    "yale_b": yale_b,
}


def open_dataset(name: str, **options: object) -> Splits:
    """The splits of the dataset called ``name``; ``options`` are its function's arguments.

    Raises:
        InputError: if there is no such dataset or option, or a value is out of range.
    """
    check_choice("dataset.name", name, DATASETS)
    known = signature(DATASETS[name]).parameters
    if "options" in known:  # which it passes on
        known = {**known, **signature(faces).parameters}
    for option in options:
        check_choice(f"an option of dataset {name}", option, [k for k in known if k != "options"])
    return DATASETS[name](**options)
