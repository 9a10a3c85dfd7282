"""New images, prepared as those of a training.

Shapes: N images, C channels, S height and width of a prepared image.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from mlvae.arguments import as_path
from mlvae.data.collections.members import MAX_FILE, is_system_part, printable
from mlvae.data.collections.preparation import of_run, prepared_as
from mlvae.data.collections.regular import read_regular
from mlvae.data.collections.sources import Folder
from mlvae.data.splitting.splits import Splits
from mlvae.errors import InputError, check_flag, check_integer, check_number, shown

if TYPE_CHECKING:
    from mlvae.data.collections.images import Options

__all__ = ["read_images"]

#: More files than this are decoded in several processes.
FEW = 64

#: Number of bad images that a message names.
NAMED = 3


def read_images(
    images: Any,
    *,
    like: Any = None,
    size: int | None = None,
    colour: bool | None = None,
    crop: float | None = None,
) -> np.ndarray:
    """Images that a model of a collection takes: decoded, cropped, resized and made grey alike.

    Files give the pixels that the collection has of the same files. A JPEG that Pillow has
    decoded in full may differ from its file by a few grey levels.

    Args:
        images: a file; a folder, whose files are read in the order of their names; an image of
            Pillow; an array of uint8, (height, width), (height, width, 3) or
            (N, height, width, 3); or a list of these.
        like: what the images shall match: the folder of a run, the data of the training
            (:class:`~mlvae.GroupedData`, :class:`~mlvae.data.Splits`), or a model. A model knows
            the size and the channels, but not the crop.
        size: S; None: as ``like``.
        colour: whether C is 3; None: as ``like``.
        crop: side of the central square that is kept, as a fraction of an image's shorter side;
            None: as ``like``.

    Returns:
        uint8 (N, C, S, S).

    Raises:
        InputError: if an image cannot be used, or the preparation is not known.

    Example:
        >>> photograph = np.zeros((60, 80, 3), np.uint8)
        >>> read_images([photograph, photograph[:, :70]], size=16, colour=False, crop=0.8).shape
        (2, 1, 16, 16)

    Example of a run::

        model = mlvae.load("runs/people")
        x = mlvae.read_images(["one.jpg", "two.jpg"], like="runs/people")
        swapped = model.swap(content_of=x[:1], style_of=x[1:])
    """
    options = _options(like, size, colour, crop)
    names, contents = zip(*_listed(images, nested=False), strict=True)
    attempts = _attempts(contents, options)
    bad = [
        f"{name} {attempt.reason}"
        for name, attempt in zip(names, attempts, strict=True)
        if attempt.pixels is None
    ]
    if bad:
        more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise InputError(
            f"{len(bad)} of {len(names)} images cannot be used: {'; '.join(bad[:NAMED])}{more}"
        )
    return np.stack([attempt.pixels for attempt in attempts])


def _options(like: Any, size: Any, colour: Any, crop: Any) -> Options:
    """Size, channels and crop: those that are given, otherwise those of ``like``."""
    known = _known(like)
    if size is not None:
        check_integer("size", size, minimum=1)
        known["size"] = size
    if colour is not None:
        check_flag("colour", colour)
        known["channels"] = 3 if colour else 1
    if crop is not None:
        check_number("crop", crop, minimum=0, maximum=1, exclusive=True)
        known["crop"] = crop
    words = {"size": "size=64", "channels": "colour=True", "crop": "crop=1.0"}
    if missing := [text for name, text in words.items() if name not in known]:
        raise InputError(
            "like must be the folder of a run on prepared images, or such data, which knows the "
            f"preparation, not {shown(like)}; or give {', '.join(missing)}"
        )
    return {"size": int(known["size"]), "channels": known["channels"], "crop": known["crop"]}


def _known(like: Any) -> dict[str, Any]:
    """The size, channels and crop of ``like``, as far as it has them."""
    if like is None:
        return {}
    if isinstance(like, str | os.PathLike):
        return of_run(as_path("like", like))
    if isinstance(like, Splits):
        like = like.train
    if (prepared := prepared_as(getattr(like, "x", like))) is not None:
        return prepared
    shape = getattr(like, "shape", None)
    if isinstance(like, type | Tensor | np.ndarray | np.generic) or not isinstance(
        shape, list | tuple
    ):
        raise InputError(
            f"like must be the folder of a run, data or a model, not {shown(like)}; or None with "
            "size, colour and crop"
        )
    if len(shape) != 3:
        return {}
    if shape[1] != shape[2] or shape[0] not in (1, 3):
        raise InputError(
            f"like must have square images of 1 or 3 channels, not of shape {tuple(shape)}"
        )
    return {"size": shape[1], "channels": shape[0]}


def _listed(images: Any, *, nested: bool) -> Iterator[tuple[str, Any]]:
    """The name and the content of each image: an image, or a function that reads a file."""
    from PIL import Image  # not loaded by `import mlvae`

    if isinstance(images, str | os.PathLike):
        yield from _files(as_path("images", images))
    elif isinstance(images, Image.Image):
        yield "the image", images.copy()  # decoding would change the original
    elif isinstance(images, np.ndarray):
        yield from _arrays(images)
    elif isinstance(images, Sequence) and len(images) and not nested:
        for place, image in enumerate(images):
            for name, content in _listed(image, nested=True):
                file = isinstance(image, str | os.PathLike)
                yield name if file else f"image {place}", content
    else:
        raise InputError(
            "images must be files, folders, images of Pillow or arrays of uint8, or a list of "
            f"them, not {shown(images)}"
        )


def _files(path: Path) -> Iterator[tuple[str, Any]]:
    """A file, or the files below a folder without those of an operating system."""
    if not path.is_dir():
        yield printable(str(path)), partial(read_regular, path, MAX_FILE)
        return
    found = [
        member
        for member in Folder(path).members()
        if not any(is_system_part(part) for part in member.name.split("/"))
    ]
    if not found:
        raise InputError(f"the folder {printable(str(path))} must have images, but has no file")
    for member in found:
        content = getattr(member, "read", None)
        yield member.name, content or _refused(member)


def _refused(member: Any) -> Any:
    """The outcome of a file that the folder refuses."""
    from mlvae.data.collections.images import Attempt

    return Attempt("", None, member.reason)


def _arrays(array: np.ndarray) -> Iterator[tuple[str, Any]]:
    """The images of an array."""
    from PIL import Image

    shape = array.shape
    colours = len(shape) in (3, 4) and shape[-1] in (3, 4)
    if array.dtype != np.uint8 or not (len(shape) == 2 or colours) or not array.size:
        raise InputError(
            "an array of images must be uint8 of 0 to 255 and of shape (height, width), "
            f"(height, width, 3) or (N, height, width, 3), not {array.dtype} of shape {shape}"
        )
    for place, image in enumerate(array if len(shape) == 4 else [array]):
        yield f"image {place}", Image.fromarray(np.ascontiguousarray(image))


def _attempts(contents: Sequence[Any], options: Options) -> list[Any]:
    """The outcome of each image, in order."""
    from PIL import Image

    from mlvae.data.collections.decoders import Decoders
    from mlvae.data.collections.images import attempt

    files = [content for content in contents if not isinstance(content, Image.Image)]
    chunks = [files[start : start + FEW] for start in range(0, len(files), FEW)]
    with Decoders(0 if len(files) <= FEW else None, options) as decoders:
        decoded = (result for results in decoders.attempts(chunks) for result in results)
        return [
            attempt(content, **options) if isinstance(content, Image.Image) else next(decoded)
            for content in contents
        ]
