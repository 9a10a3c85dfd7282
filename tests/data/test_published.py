"""Published files of disentanglement, written here in their formats with few images."""

import gzip
import io
import struct
import sys
import tarfile

import numpy as np
import pytest
from scipy.io import savemat

from mlvae.data import SourceRows, open_dataset
from mlvae.data.sources import cars3d as cars_module
from mlvae.data.sources import mpi3d as mpi_module
from mlvae.errors import InputError

WHOLE = {"validation": 0, "test": 0}


# dSprites


@pytest.fixture
def dsprites_file(tmp_path):
    """3 shapes, 2 scales, 4 positions across: compressed, with an object that is never read."""
    classes = np.stack([a.ravel() for a in np.indices((1, 3, 2, 1, 4, 1))], 1)
    values = classes * [1, 1, 0.1, 1, 0.25, 1.0] + [1, 1, 0.5, 0, 0, 0]
    imgs = np.zeros((24, 64, 64), np.uint8)
    for row, image in enumerate(imgs):
        image[row, : row + 1] = 1
    name = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    metadata = np.array([{"author": "x"}], dtype=object)
    arrays = {"imgs": imgs, "latents_classes": classes, "latents_values": values}
    np.savez_compressed(tmp_path / name, metadata=metadata, **arrays)
    return tmp_path, arrays


def test_dsprites_have_their_images_and_factors(dsprites_file, capsys):
    root, arrays = dsprites_file
    options = {"root": root, "cache": root / "cache", **WHOLE}
    data = open_dataset("dsprites", **options).train
    assert isinstance(data.x, SourceRows) and data.shape == (1, 64, 64)
    assert data.group_names == ["ellipse", "heart", "square"]
    rows = data.factors["x"].argsort(stable=True)  # the split has an order of its own
    assert set(data.factors) == {"shape", "scale", "orientation", "x", "y"}
    lit = data.batch(rows).x.sum((1, 2, 3)).long() - 1  # the number of the image in the file
    for name, column in (("shape", 1), ("scale", 2), ("x", 4)):
        expected = arrays["latents_values"][lit, column]
        np.testing.assert_allclose(data.factors[name][rows], expected, rtol=1e-6)
    assert sorted(lit.tolist()) == list(range(24)) and "unpacked" in capsys.readouterr().out
    open_dataset("dsprites", **options)
    assert capsys.readouterr().out == ""  # unpacked once


def test_dsprites_are_grouped_by_several_factors_and_drawn(dsprites_file):
    root, _ = dsprites_file
    options = {"root": root, "cache": root / "cache", "images": 20, "seed": 1}
    splits = open_dataset(
        "dsprites", group_by=["shape", "scale"], split="groups", validation=1, test=2, **options
    )
    assert sum(len(data) for _, data in splits) == 20
    assert splits.unseen.groups.num_groups == 2 and splits.train.groups.num_groups == 3
    assert all(
        name.split("-")[0] in ("square", "ellipse", "heart") for name in splits.train.group_names
    )


# 3D Shapes


@pytest.fixture
def shapes3d_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    levels = np.indices((2, 1, 3, 1, 4, 1)).reshape(6, -1).T
    labels = levels * [0.1, 1, 0.1, 1, 1, 1] + [0, 0.5, 0, 0.75, 0, -30]
    images = np.zeros((24, 64, 64, 3), np.uint8)
    images[:, 0, 0, 2] = np.arange(24)
    with h5py.File(tmp_path / "3dshapes.h5", "w") as file:
        file.create_dataset("images", data=images, chunks=(4, 64, 64, 3), compression="gzip")
        file["labels"] = labels
    return tmp_path, labels


def test_shapes3d_have_their_images_and_factors(shapes3d_file):
    root, labels = shapes3d_file
    data = open_dataset("shapes3d", root=root, **WHOLE).train
    assert isinstance(data.x, SourceRows) and data.shape == (3, 64, 64)
    assert data.group_names == ["capsule", "cube", "cylinder", "sphere"]
    number = (data.batch().x[:, 2, 0, 0] * 255).round().long()
    for name, column in (("floor_hue", 0), ("object_hue", 2), ("shape", 4), ("orientation", 5)):
        np.testing.assert_allclose(data.factors[name], labels[number, column], rtol=1e-6)
    shapes = np.array(["cube", "cylinder", "sphere", "capsule"])
    assert data.labels.tolist() == shapes[labels[number, 4].astype(int)].tolist()


def test_shapes3d_without_h5py_name_the_extra(shapes3d_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"mlvae\[hdf5\]"):
        open_dataset("shapes3d", root=shapes3d_file[0])


# MPI3D


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_mpi3d_has_a_grid_of_factors(tmp_path, monkeypatch, save):
    monkeypatch.setattr(mpi_module, "SIZES", ((2, 3, 1, 1, 1, 2, 2), (2, 2, 1, 1, 1, 2, 1)))
    images = np.zeros((24, 64, 64, 3), np.uint8)
    images[:, 0, 0, 1] = np.arange(24)
    save(tmp_path / "mpi3d_toy.npz", images=images)
    data = open_dataset("mpi3d", root=tmp_path, cache=tmp_path / "cache", **WHOLE).train
    number = (data.batch().x[:, 1, 0, 0] * 255).round().long()
    assert data.shape == (3, 64, 64) and data.group_names == [0, 1, 2]
    assert data.factors["object_color"].tolist() == (number // 12).tolist()
    assert data.labels.tolist() == (number // 4 % 3).tolist()
    assert data.factors["horizontal_axis"].tolist() == (number // 2 % 2).tolist()
    assert data.factors["vertical_axis"].tolist() == (number % 2).tolist()
    save(tmp_path / "mpi3d_toy.npz", images=images[:23])
    with pytest.raises(InputError, match=r"24 or 8 images, not 23"):
        open_dataset("mpi3d", root=tmp_path, cache=tmp_path / "cache")


# Cars3D


@pytest.fixture
def cars(tmp_path, monkeypatch):
    """Two cars of 4 by 4 pixels, whose first pixel has the number of the view."""
    monkeypatch.setattr(cars_module, "SIDE", 4)
    (tmp_path / "cars").mkdir()
    for number in (1, 0):
        im = np.zeros((4, 4, 3, 24, 4), np.uint8)
        im[0, 0, 0] = np.arange(96).reshape(24, 4)
        im[:, :, 1] = 100 * number
        savemat(tmp_path / "cars" / f"car_00{number}_mesh.mat", {"im": im, "mask": im})
    (tmp_path / "cars" / "list.txt").write_text("car_000_mesh\n")
    return tmp_path


def test_cars3d_have_their_views(cars):
    data = open_dataset("cars3d", root=cars, size=4, **WHOLE).train
    assert data.shape == (3, 4, 4) and len(data) == 192 and data.group_names == [0, 1]
    x = (data.batch().x * 255).round().long()
    view = x[:, 0, 0, 0]
    assert data.factors["azimuth"].tolist() == (view // 4).tolist()
    assert data.factors["elevation"].tolist() == (view % 4).tolist()
    assert (data.factors["object"] * 100).tolist() == x[:, 1, 2, 2].tolist()


def test_cars3d_are_reduced_by_means_and_read_from_the_archive(cars):
    folder = open_dataset("cars3d", root=cars, size=2, **WHOLE).train
    with tarfile.open(cars / "nips2015-analogy-data.tar.gz", "w:gz") as file:
        file.add(cars / "cars", "data/cars")
    archive = open_dataset("cars3d", root=cars / "nips2015-analogy-data.tar.gz", size=2, **WHOLE)
    assert (folder.x == archive.train.x).all() and folder.shape == (3, 2, 2)
    whole = open_dataset("cars3d", root=cars, size=4, **WHOLE).train
    expected = (whole.x[:, 0, 0, 0].double() / 4).round()  # one lit pixel of four
    assert folder.x[:, 0, 0, 0].tolist() == expected.tolist()


def test_cars3d_of_another_shape_are_refused(cars, monkeypatch):
    monkeypatch.setattr(cars_module, "SIDE", 5)
    with pytest.raises(InputError, match=r"\(5, 5, 3, 24, 4\).*\(4, 4, 3, 24, 4\)"):
        open_dataset("cars3d", root=cars)
    (cars / "cars" / "car_002_mesh.mat").write_bytes(b"x")
    monkeypatch.setattr(cars_module, "SIDE", 4)
    with pytest.raises(InputError, match=r"car_002_mesh\.mat"):
        open_dataset("cars3d", root=cars)


# Small NORB


def norb_bytes(array):
    magic = {"u": 0x1E3D4C55, "i": 0x1E3D4C54}[array.dtype.kind]
    lengths = [*array.shape, 1, 1][: max(3, array.ndim)]
    header = struct.pack(f"<{2 + len(lengths)}I", magic, array.ndim, *lengths)
    return header + array.tobytes()


@pytest.fixture
def norb(tmp_path):
    """Five categories of two toys in both parts; a pixel has the row, the other camera 255."""
    random = np.random.default_rng(0)
    for part, name in (("training", "5x46789"), ("testing", "5x01235")):
        toys = (4, 6) if part == "training" else (0, 1)
        cat, toy, view = (a.ravel() for a in np.indices((5, 2, 3)))
        dat = np.zeros((30, 2, 96, 96), np.uint8)
        dat[:, 0, 0, 0], dat[:, 1] = np.arange(30), 255
        info = np.stack([np.array(toys)[toy], view, 2 * view + 4, view + 1], 1).astype("<i4")
        order = random.permutation(30)
        for kind, array in (("dat", dat), ("cat", cat.astype("<i4")), ("info", info)):
            path = tmp_path / f"smallnorb-{name}x9x18x6x2x96x96-{part}-{kind}.mat"
            content = norb_bytes(np.ascontiguousarray(array[order]))
            if part == "testing":
                path, content = path.with_suffix(".mat.gz"), gzip.compress(content)
            path.write_bytes(content)
    return tmp_path


def test_smallnorb_has_the_published_parts_and_factors(norb):
    splits = open_dataset("smallnorb", root=norb, size=96, validation=0)
    assert len(splits.train) == len(splits.test) == 30 and splits.unseen is None
    assert splits.train.shape == (1, 96, 96)
    for data, toys in ((splits.train, (4, 6)), (splits.test, (0, 1))):
        number = (data.batch().x[:, 0, 0, 0] * 255).round().long()
        view = number % 3
        assert data.factors["category"].tolist() == (number // 6).tolist()
        assert data.factors["instance"].tolist() == [toys[i] for i in (number // 3 % 2).tolist()]
        assert data.factors["elevation"].tolist() == view.tolist()
        assert data.factors["azimuth"].tolist() == (view + 2).tolist()
        assert data.factors["lighting"].tolist() == (view + 1).tolist()
    assert splits.train.group_names == ["animal", "car", "human", "plane", "truck"]


def test_toys_of_the_test_are_unseen_groups(norb):
    splits = open_dataset("smallnorb", root=norb, group_by=["category", "instance"])
    assert splits.test is None and splits.unseen.groups.num_groups == 10
    assert len(splits.validation) == 3 and splits.train.shape == (1, 64, 64)


def test_damaged_files_of_smallnorb_are_refused(norb):
    path = norb / "smallnorb-5x46789x9x18x6x2x96x96-training-cat.mat"
    content = path.read_bytes()
    for wrong in (content[:-1], content[:7], b"\0" * 40):
        path.write_bytes(wrong)
        with pytest.raises(InputError, match=r"training-cat\.mat"):
            open_dataset("smallnorb", root=norb)
    path.unlink()
    with pytest.raises(InputError, match=r"training-cat\.mat"):
        open_dataset("smallnorb", root=norb)


# All


@pytest.mark.parametrize("name", ["dsprites", "shapes3d", "mpi3d", "cars3d"])
def test_a_missing_file_is_named(name, tmp_path):
    published = {"dsprites": "dsprites_nd", "shapes3d": "3dshapes.h5", "mpi3d": "mpi3d_toy"}
    with pytest.raises(InputError, match=published.get(name, r"nips2015")):
        open_dataset(name, root=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_by": "colour"}, r"dataset\.group_by .*'colour'"),
        ({"group_by": []}, r"dataset\.group_by .*\[\]"),
        ({"group_by": ["x", "x"]}, r"dataset\.group_by .*\['x', 'x'\]"),
        ({"images": 25}, r"dataset\.images .*24.*25"),
        ({"images": 0}, r"dataset\.images .*0"),
        ({"split": "rows"}, r"dataset\.split .*'rows'"),
        ({"seed": -1}, r"dataset\.seed .*-1"),
    ],
)
def test_options_out_of_range_are_refused(dsprites_file, options, message):
    root, _ = dsprites_file
    with pytest.raises(InputError, match=message):
        open_dataset("dsprites", root=root, cache=root / "cache", **options)


def test_a_file_that_is_no_dsprites_is_refused(tmp_path):
    other, array = io.BytesIO(), io.BytesIO()
    np.savez(other, x=np.zeros(3))
    np.save(array, np.zeros(3))
    for content in (b"", b"x", other.getvalue(), array.getvalue()):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"x\.npz"):
            open_dataset("dsprites", root=tmp_path / "x.npz")
