"""MNIST and Fashion-MNIST, grouped by class."""

from __future__ import annotations

import gzip
import math
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor

from mlvae.arguments import as_path
from mlvae.data.collections.members import first_line
from mlvae.data.grouped import GroupedData
from mlvae.data.splitting.splits import Splits, hold_out, split
from mlvae.errors import InputError, check_integer

__all__ = ["fashion_mnist", "mnist"]

#: The files and the number of dimensions of their arrays.
FILES = {
    "train-images-idx3-ubyte": 3,
    "train-labels-idx1-ubyte": 1,
    "t10k-images-idx3-ubyte": 3,
    "t10k-labels-idx1-ubyte": 1,
}


def mnist(
    root: str | Path = "data",
    *,
    validation: int = 10_000,
    unseen_groups: Sequence[int] = (),
    seed: int = 0,
) -> Splits:
    """28x28 grey images of handwritten digits, grouped by digit.

    Y. LeCun, C. Cortes, C. J. C. Burges: The MNIST database. 60,000 training images, which a
    seeded permutation splits into 50,000 for training and 10,000 for validation, and the standard
    10,000 test images.

    Args:
        root: folder with ``MNIST/raw/``, which holds the four IDX files, unpacked or as ``.gz``.
            Existing files are never changed. torchvision downloads those that are missing.
        validation: number of training images drawn for validation.
        unseen_groups: digits to keep out of training, validation and test.
        seed: seed of the split.

    Raises:
        InputError: if files are missing and cannot be downloaded, or cannot be read.
    """
    return _read("MNIST", root, validation, unseen_groups, seed)


def fashion_mnist(
    root: str | Path = "data",
    *,
    validation: int = 10_000,
    unseen_groups: Sequence[int] = (),
    seed: int = 0,
) -> Splits:
    """28x28 grey images of garments, grouped by class (0 to 9).

    H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST. arXiv:1708.07747, 2017. Arguments and splits
    are those of :func:`mnist`. The folder is ``FashionMNIST/raw/``.
    """
    return _read("FashionMNIST", root, validation, unseen_groups, seed)


def _read(
    name: str, root: str | Path, validation: int, unseen_groups: Sequence[int], seed: int
) -> Splits:
    check_integer("dataset.validation", validation, minimum=0)
    check_integer("dataset.seed", seed, minimum=0)
    raw = as_path("dataset.root", root) / name / "raw"
    if missing := [file for file in FILES if _find(raw, file) is None]:
        _download(name, raw, missing)
    train_x, train_y, test_x, test_y = (
        _read_idx(_find(raw, file) or raw / file, dims) for file, dims in FILES.items()
    )
    for part, x, y in (("train", train_x, train_y), ("t10k", test_x, test_y)):
        if len(x) != len(y):
            raise InputError(
                f"{raw} must have a label for each image, but {part} has {len(x)} images "
                f"and {len(y)} labels; delete its files, which are then downloaded again"
            )
    if train_x.shape[1:] != test_x.shape[1:]:
        raise InputError(
            f"{raw} must have training and test images of one size, not "
            f"{tuple(train_x.shape[1:])} and {tuple(test_x.shape[1:])}"
        )
    train, held_out = hold_out(GroupedData(train_x, train_y), unseen_groups)
    test, unseen = GroupedData(test_x, test_y), None
    if held_out is not None:
        both = GroupedData(torch.cat((train_x, test_x)), torch.cat((train_y, test_y)))
        test, unseen = hold_out(test, unseen_groups)[0], hold_out(both, unseen_groups)[1]
    parts = split(train, validation=validation, seed=seed)
    return Splits(parts.train, parts.validation, test, unseen)


def _find(raw: Path, file: str) -> Path | None:
    """The file called ``file`` or ``file.gz`` in the folder, or None."""
    try:
        return next((path for path in (raw / file, raw / f"{file}.gz") if path.is_file()), None)
    except OSError as error:
        raise InputError(f"{raw} must be a readable folder: {error.strerror}") from error


def _download(name: str, raw: Path, files: list[str]) -> None:
    """Download and verify files with torchvision. Each appears whole in ``raw``, or not at all."""
    from torchvision import datasets  # takes seconds, which `import mlvae` saves

    missing = [f"{file}.gz" for file in files]
    try:
        with tempfile.TemporaryDirectory() as folder:
            vars(datasets)[name](folder, download=True)
            raw.mkdir(parents=True, exist_ok=True)
            for file in missing:
                part = raw / f"{file}.part"  # a rename within a folder is atomic
                shutil.copyfile(Path(folder) / name / "raw" / file, part)
                part.replace(raw / file)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = first_line(error).rstrip(":")
        raise InputError(
            f"{raw} must hold the four files of {name}, but {', '.join(missing)} could not be "
            f"found or downloaded ({reason}); put them into it, point dataset.root or MLVAE_DATA "
            "at a folder with them, or use dataset=digits, which needs no download"
        ) from error


def _read_idx(path: Path, dims: int) -> Tensor:
    """The uint8 array of an IDX file with ``dims`` dimensions: 3 for images, 1 for labels.

    The format: two zero bytes; the type (8 is unsigned bytes); the number of dimensions; the
    length of each dimension, a big-endian integer of four bytes; the elements.
    """
    advice = "delete it, and it is downloaded again; or replace it"
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except PermissionError as error:
        raise InputError(f"{path} must be readable: {error.strerror}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} must be a whole gzip file ({error}); {advice}") from error
    magic, expected = content[:4], bytes((0, 0, 8, dims))
    if magic != expected:
        kind = "images" if dims == 3 else "labels"
        raise InputError(
            f"{path} must be an IDX file of {kind}, beginning with 0x{expected.hex()}, "
            f"not 0x{magic.hex()}; {advice}"
        )
    start = 4 + 4 * dims
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    size = math.prod(shape)
    if size == 0 or len(content) != start + size:
        raise InputError(
            f"{path} must have {size} bytes for its shape {shape}, but is truncated or damaged "
            f"and has {max(0, len(content) - start)}; {advice}"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)
