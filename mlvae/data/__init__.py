"""Grouped observations: where they come from, how they are split, how they are batched."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import get_args, get_type_hints

from mlvae.data.augmentation import GroupWarp
from mlvae.data.batching import Grouped, Shuffled
from mlvae.data.collections.new_images import read_images
from mlvae.data.collections.stored import StoredImages
from mlvae.data.grouped import GroupedData
from mlvae.data.parted import Part, PartedData
from mlvae.data.plan import Plan
from mlvae.data.rows.array_file import ArrayFile
from mlvae.data.rows.joined import JoinedRows
from mlvae.data.rows.source import Source, SourceRows
from mlvae.data.rows.sparse import SparseRows
from mlvae.data.sources.arrays import arrays
from mlvae.data.sources.bag_of_words import bag_of_words
from mlvae.data.sources.cars3d import cars3d
from mlvae.data.sources.cells import anndata
from mlvae.data.sources.collection import collection
from mlvae.data.sources.digit_parts import digit_parts
from mlvae.data.sources.digits import digits
from mlvae.data.sources.donors import donors
from mlvae.data.sources.dsprites import dsprites
from mlvae.data.sources.faces import faces
from mlvae.data.sources.flatland import flatland
from mlvae.data.sources.gct import gct, l1000
from mlvae.data.sources.glyphs import glyphs
from mlvae.data.sources.hivae import hivae
from mlvae.data.sources.identities import celeba, lfw, omniglot, yale_b
from mlvae.data.sources.mnist import fashion_mnist, mnist
from mlvae.data.sources.moving_sprites import moving_sprites
from mlvae.data.sources.mpi3d import mpi3d
from mlvae.data.sources.published_documents import bbc_news, newsgroups
from mlvae.data.sources.published_tables import adult, law_school
from mlvae.data.sources.recordings import fsdd, recordings
from mlvae.data.sources.rollouts import rollouts
from mlvae.data.sources.scm import scm
from mlvae.data.sources.shapes3d import shapes3d
from mlvae.data.sources.smallnorb import smallnorb
from mlvae.data.sources.sphere import sphere
from mlvae.data.sources.sprite_pairs import sprite_pairs
from mlvae.data.sources.sprites import sprites
from mlvae.data.sources.table import table
from mlvae.data.sources.torus import torus
from mlvae.data.sources.uci import uci
from mlvae.data.splitting.splits import Splits, split
from mlvae.data.tables.columns import Column, Columns
from mlvae.data.tables.gct import Gct, read_gct
from mlvae.data.trajectories.episodes import Episodes, Truth
from mlvae.errors import check_choice

__all__ = [
    "AUGMENTATIONS",
    "BATCHINGS",
    "ArrayFile",
    "Column",
    "Columns",
    "Episodes",
    "Gct",
    "GroupWarp",
    "Grouped",
    "GroupedData",
    "JoinedRows",
    "Part",
    "PartedData",
    "Plan",
    "Shuffled",
    "Source",
    "SourceRows",
    "SparseRows",
    "Splits",
    "StoredImages",
    "Truth",
    "adult",
    "anndata",
    "arrays",
    "bag_of_words",
    "bbc_news",
    "cars3d",
    "celeba",
    "collection",
    "digit_parts",
    "digits",
    "donors",
    "dsprites",
    "faces",
    "fashion_mnist",
    "flatland",
    "fsdd",
    "gct",
    "glyphs",
    "hivae",
    "l1000",
    "law_school",
    "lfw",
    "mnist",
    "moving_sprites",
    "mpi3d",
    "newsgroups",
    "omniglot",
    "open_dataset",
    "read_gct",
    "read_images",
    "recordings",
    "rollouts",
    "scm",
    "shapes3d",
    "smallnorb",
    "sphere",
    "split",
    "sprite_pairs",
    "sprites",
    "table",
    "torus",
    "uci",
    "yale_b",
]

AUGMENTATIONS = (GroupWarp,)
BATCHINGS = (Shuffled, Grouped)
DATASETS: dict[str, Callable[..., Splits]] = {
    "adult": adult,
    "anndata": anndata,
    "arrays": arrays,
    "bag_of_words": bag_of_words,
    "bbc_news": bbc_news,
    "cars3d": cars3d,
    "celeba": celeba,
    "collection": collection,
    "digit_parts": digit_parts,
    "digits": digits,
    "donors": donors,
    "dsprites": dsprites,
    "faces": faces,
    "fashion_mnist": fashion_mnist,
    "flatland": flatland,
    "fsdd": fsdd,
    "gct": gct,
    "glyphs": glyphs,
    "hivae": hivae,
    "l1000": l1000,
    "law_school": law_school,
    "lfw": lfw,
    "mnist": mnist,
    "moving_sprites": moving_sprites,
    "mpi3d": mpi3d,
    "newsgroups": newsgroups,
    "omniglot": omniglot,
    "recordings": recordings,
    "rollouts": rollouts,
    "scm": scm,
    "shapes3d": shapes3d,
    "smallnorb": smallnorb,
    "sphere": sphere,
    "sprite_pairs": sprite_pairs,
    "sprites": sprites,
    "table": table,
    "torus": torus,
    "uci": uci,
    "yale_b": yale_b,
}


def open_dataset(name: str, **options: object) -> Splits:
    """The splits of the dataset called ``name``; ``options`` are its function's arguments.

    Raises:
        InputError: if there is no such dataset or option, or a value is out of range.
    """
    check_choice("dataset.name", name, DATASETS)
    dataset = DATASETS[name]
    for option in options:
        check_choice(f"an option of dataset {name}", option, _options(dataset))
    return dataset(**options)


def _options(dataset: Callable[..., Splits]) -> list[str]:
    """Names of the arguments of a dataset's function, with those that it passes on."""
    names = [name for name in signature(dataset).parameters if name != "options"]
    passed_on = get_args(get_type_hints(dataset).get("options"))  # of Unpack[a TypedDict]
    return names + [name for record in passed_on for name in get_type_hints(record)]
