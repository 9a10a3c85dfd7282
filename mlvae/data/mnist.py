"""MNIST and Fashion-MNIST, grouped by class."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision import datasets
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

from mlvae.data.grouped import GroupedData
from mlvae.data.splits import Splits, hold_out, split
from mlvae.errors import InputError

__all__ = ["fashion_mnist", "mnist"]

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def mnist(
    root: str | Path = "data",
    *,
    validation: int = 10_000,
    unseen_groups: Sequence[int] = (),
    seed: int = 0,
) -> Splits:
    """28x28 grey images of handwritten digits, grouped by digit.

    Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database. 60,000 training images, of which a
    seeded permutation gives 50,000 to training and 10,000 to validation, and the standard 10,000
    test images.

    Args:
        root: folder with ``MNIST/raw/`` and in it the four IDX files, as they are or as ``.gz``.
            Files that are there are only read; if some are missing, torchvision downloads them.
        validation: number of training images drawn for validation.
        unseen_groups: digits to keep out of training, validation and test.
        seed: of the split.

    Raises:
        InputError: if files are missing and cannot be downloaded, or cannot be read.
    """
    return _read(datasets.MNIST, root, validation, unseen_groups, seed)


def fashion_mnist(
    root: str | Path = "data",
    *,
    validation: int = 10_000,
    unseen_groups: Sequence[int] = (),
    seed: int = 0,
) -> Splits:
    """28x28 grey images of garments, grouped by class (0 to 9).

    H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST. arXiv:1708.07747, 2017. Arguments and splits
    are those of :func:`mnist`, the folder is ``FashionMNIST/raw/``.
    """
    return _read(datasets.FashionMNIST, root, validation, unseen_groups, seed)


def _read(
    source: type[datasets.MNIST],
    root: str | Path,
    validation: int,
    unseen_groups: Sequence[int],
    seed: int,
) -> Splits:
    raw = Path(root).expanduser() / source.__name__ / "raw"
    if any(_find(raw, name) is None for name in FILES):
        _download(source, raw)
    train_x, train_y, test_x, test_y = (_read_idx(_find(raw, name)) for name in FILES)
    for part, x, y in (("train", train_x, train_y), ("t10k", test_x, test_y)):
        if len(x) != len(y):
            raise InputError(
                f"{raw} must have a label for each image, but {part} has {len(x)} images "
                f"and {len(y)} labels; delete its files to have them downloaded again"
            )
    train, test = GroupedData(train_x, train_y), GroupedData(test_x, test_y)
    unseen = None
    if unseen_groups:
        whole = GroupedData(torch.cat((train_x, test_x)), torch.cat((train_y, test_y)))
        unseen = hold_out(whole, unseen_groups)[1]
        train, test = (hold_out(data, unseen_groups)[0] for data in (train, test))
    parts = split(train, validation=validation, seed=seed)
    return Splits(parts.train, parts.validation, test, unseen)


def _find(raw: Path, name: str) -> Path | None:
    """The file called ``name`` or ``name.gz`` in the folder, or None."""
    try:
        return next((path for path in (raw / name, raw / f"{name}.gz") if path.is_file()), None)
    except OSError as error:
        raise InputError(f"{raw} must be a readable folder: {error.strerror}") from error


def _download(source: type[datasets.MNIST], raw: Path) -> None:
    """Have torchvision download and verify the files; they come to ``raw`` whole or not at all."""
    missing = [f"{name}.gz" for name in FILES if _find(raw, name) is None]
    try:
        with tempfile.TemporaryDirectory() as folder:
            source(folder, download=True)
            raw.mkdir(parents=True, exist_ok=True)
            for name in missing:
                shutil.move(Path(folder) / source.__name__ / "raw" / name, raw / name)
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise InputError(
            f"{raw} must hold the four files of {source.__name__}, but {', '.join(missing)} "
            f"could not be found or downloaded ({reason}); put them there, point dataset.root or "
            "MLVAE_DATA at a folder that has them, or use dataset=digits, which needs no download"
        ) from error


def _read_idx(path: Path) -> Tensor:
    """Read an IDX file of bytes with torchvision, after unpacking it if it is a ``.gz``."""
    try:
        if path.suffix != ".gz":
            return _unsigned(read_sn3_pascalvincent_tensor(str(path)))
        with tempfile.NamedTemporaryFile() as unpacked:
            unpacked.write(gzip.decompress(path.read_bytes()))
            unpacked.flush()
            return _unsigned(read_sn3_pascalvincent_tensor(unpacked.name))
    except PermissionError as error:
        raise InputError(f"{path} must be readable: {error.strerror}") from error
    except (
        AssertionError,
        EOFError,
        KeyError,
        OSError,
        ValueError,
        RuntimeError,
        zlib.error,
    ) as e:
        raise InputError(
            f"{path} must be a whole IDX file of bytes, but it is truncated or of another kind "
            f"({type(e).__name__}{f': {e}' if str(e) else ''}); delete it to have it downloaded "
            "again, or replace it"
        ) from e


def _unsigned(values: Tensor) -> Tensor:
    if values.dtype != torch.uint8:
        raise ValueError(f"elements are {values.dtype}, not bytes")
    return values
