"""Small collections of images, made by the tests themselves."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image


def encoded(pixels, format="PNG", **options):
    """The bytes of an image file of an array (height, width) or (height, width, 3)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def noise(seed, shape=(20, 16)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="session")
def png():
    """The bytes of a small image of noise, another for each seed."""
    return lambda seed, shape=(20, 16), **options: encoded(noise(seed, shape), **options)


@pytest.fixture(scope="session")
def image_bytes():
    return encoded


@pytest.fixture(scope="session")
def people(png):
    """The files of some people with so many images each: contents by name."""

    def build(names=("ann", "bob", "eve"), images=4):
        return {
            f"{name}/{name}_{i:04}.png": png(1000 * place + i)
            for place, name in enumerate(names)
            for i in range(images)
        }

    return build


@pytest.fixture
def write(tmp_path):
    """Writes files as a folder, or as an archive by the ending of its name; returns its path."""

    def build(name, files):
        path = tmp_path / name
        if name.endswith(".zip"):
            with zipfile.ZipFile(path, "w") as archive:
                for member, content in files.items():
                    archive.writestr(member, content)
        elif ".tar" in name:
            mode = {".gz": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w")
            with tarfile.open(path, mode) as archive:
                for member, content in files.items():
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        else:
            for member, content in files.items():
                file = path / member
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        return path

    return build
